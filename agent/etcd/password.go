package etcd

import (
	"fmt"
	"sync"

	"github.com/quorumd/quorumd/agent/certs"
)

// password is the content of the password file.
type password struct {
	mu   sync.Mutex
	file *certs.Secret
}

func (p *password) read() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	word, err := p.file.Read()
	if err != nil {
		return "", fmt.Errorf("read password file: %w", err)
	}
	return word, nil
}
