package certs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxFile is the most that is read of a file: far more than a bundle has.
const maxFile = 1 << 20

// file is a small file, read again when it is another one or its size or time is.
type file struct {
	path string
	info fs.FileInfo
	data []byte
}

// read makes data the file's content; changed: it is another one than before. After
// an error data is what it was.
func (f *file) read() (changed bool, err error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return false, err
	}
	if f.info != nil && os.SameFile(info, f.info) && info.Size() == f.info.Size() && info.ModTime().Equal(f.info.ModTime()) {
		return false, nil
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%s is no regular file", f.path)
	}
	in, err := os.Open(f.path)
	if err != nil {
		return false, err
	}
	defer in.Close() // read only
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return false, err
	}
	if len(data) > maxFile {
		return false, fmt.Errorf("%s is longer than %d bytes", f.path, maxFile)
	}
	changed = f.data == nil || !bytes.Equal(data, f.data)
	f.info, f.data = info, data
	return changed, nil
}

// Secret is a small file with one line that must not be empty, such as a password.
// It is read again when it changes, and is used by one goroutine at a time.
type Secret struct{ file file }

// NewSecret names the file.
func NewSecret(path string) *Secret { return &Secret{file{path: path}} }

// Read gives the line as it is now.
func (s *Secret) Read() (string, error) {
	if _, err := s.file.read(); err != nil {
		return "", err
	}
	line := string(bytes.TrimRight(s.file.data, "\r\n"))
	if line == "" {
		return "", fmt.Errorf("%s is empty", s.file.path)
	}
	return line, nil
}
