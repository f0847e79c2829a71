package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// What single texts may be. Each says what is allowed.

func anyText(string) error { return nil }

// clusterName becomes a part of key names in etcd.
func clusterName(s string) error {
	if strings.Contains(s, "/") || len(s) > 255 {
		return fmt.Errorf("%q cannot name a cluster, allowed: at most 255 characters, no slash; empty for the group's name", s)
	}
	return nil
}

func role(s string) error {
	if s == RoleMember || s == RoleWorker {
		return nil
	}
	return fmt.Errorf("%q is no role, allowed: member, worker%s", s, didYouMean(s, []string{RoleMember, RoleWorker}))
}

func oneOf(words ...string) func(string) error {
	return func(s string) error {
		for _, w := range words {
			if s == w {
				return nil
			}
		}
		return fmt.Errorf("%q is none of the allowed: %s%s", s, strings.Join(words, ", "), didYouMean(s, words))
	}
}

func serviceUnit(s string) error {
	if !strings.HasSuffix(s, ".service") || s == ".service" || strings.ContainsAny(s, "/ ") {
		return fmt.Errorf("%q is no service unit, allowed: a name that ends in .service", s)
	}
	return nil
}

func directory(s string) error {
	switch {
	case !filepath.IsAbs(s):
		return fmt.Errorf("%q is not absolute, allowed: a path that starts with /", s)
	case filepath.Clean(s) == "/":
		return fmt.Errorf("%q is the root of the file system, allowed: a directory below it", s)
	}
	return nil
}

// optionalFile does not look whether the file is there: certificates may be
// provisioned later, and a configuration may be checked on another machine.
func optionalFile(s string) error {
	if s != "" && !filepath.IsAbs(s) {
		return fmt.Errorf("%q is not absolute, allowed: a path that starts with /, or empty", s)
	}
	return nil
}

// maxSocketPath is what fits the kernel's sockaddr_un (108 bytes with the final
// zero), less room for the ".new" that the socket is first made under.
const maxSocketPath = 103

func socketPath(s string) error {
	if err := directory(s); err != nil {
		return err
	}
	if len(s) > maxSocketPath {
		return fmt.Errorf("the path has %d bytes, allowed: at most %d for a unix socket", len(s), maxSocketPath)
	}
	return nil
}

func hostPort(s string) error {
	const allowed = "allowed: host:port or :port, such as :2382 or 10.0.0.1:2382"
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is no address to listen on, %s", s, allowed)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port %q is out of range, allowed: 1 to 65535", port)
	}
	return nil
}

func endpoint(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" ||
		u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is no client URL, allowed: such as http://10.0.0.1:2379", s)
	}
	return nil
}
