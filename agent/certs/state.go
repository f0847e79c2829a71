package certs

import (
	"fmt"
	"strings"
	"time"
)

// Certificate is the state of one of the files.
type Certificate struct {
	File string
	// NotAfter is when what is in use expires, of several authorities the last;
	// zero: nothing is in use.
	NotAfter time.Time
	// Problem is what is wrong with what the file holds now; empty: nothing.
	Problem string
}

// Certificates looks at the files now.
func (s *Set) Certificates() []Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readRootsLocked()
	out := []Certificate{{File: s.files.CA, NotAfter: s.rootsT, Problem: s.rootsErr}}
	if s.files.Cert != "" {
		s.readPairLocked()
		c := Certificate{File: s.files.Cert, Problem: s.pairErr}
		if s.pair != nil {
			c.NotAfter = s.pair.Leaf.NotAfter
		}
		out = append(out, c)
	}
	return out
}

// Explain adds to the error of a connection what is wrong with our own files.
func (s *Set) Explain(err error) error {
	if err == nil {
		return nil
	}
	own := s.own(time.Now())
	if own == "" || strings.Contains(err.Error(), own) {
		return err
	}
	return fmt.Errorf("%w (%s)", err, own)
}

// own says what is wrong with our own files; empty: nothing is known to be.
func (s *Set) own(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var wrong []string
	s.readRootsLocked()
	if s.rootsErr != "" {
		wrong = append(wrong, s.rootsErr)
	} else if now.After(s.rootsT) {
		wrong = append(wrong, fmt.Sprintf("every authority in %s has expired, the last on %s", s.files.CA, date(s.rootsT)))
	}
	if s.files.Cert != "" {
		s.readPairLocked()
		if s.pairErr != "" {
			wrong = append(wrong, s.pairErr)
		}
		if s.pair != nil {
			if v := validity(s.pair.Leaf.NotBefore, s.pair.Leaf.NotAfter, now); v != "" {
				wrong = append(wrong, fmt.Sprintf("this node's own certificate %s %s: renew it, it is read again by itself", s.files.Cert, v))
			}
		}
	}
	return strings.Join(wrong, "; ")
}
