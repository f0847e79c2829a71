package explain

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// MessageID is the MESSAGE_ID that the journal's entries about a word carry: 32
// hexadecimal digits, in every version the same. Catalog gives them their texts.
func MessageID(word string) string {
	sum := sha256.Sum256([]byte("quorumd " + word))
	sum[6] = sum[6]&0x0f | 0x40 // a UUID of version 4, as journald's documentation wants it
	sum[8] = sum[8]&0x3f | 0x80
	return hex.EncodeToString(sum[:16])
}

// Advice is what an operator should do, in words also where that is nothing.
func (e Entry) Advice() string {
	if e.Do == "" {
		return "nothing: it goes on by itself"
	}
	return e.Do
}

// Catalog writes every word's explanation as a message catalog of systemd's journal,
// which `journalctl -x` shows below the entries.
func Catalog(w io.Writer) error {
	for _, e := range entries {
		_, err := fmt.Fprintf(w, "-- %s\nSubject: quorumd: %s (%s)\nDefined-By: quorumd\n\n%s\n\n%s\n\n",
			MessageID(e.Word), e.Word, e.Topic, wrap(e.Means), wrap("What to do: "+e.Advice()))
		if err != nil {
			return err
		}
	}
	return nil
}

// wrap breaks a text into lines that fit a terminal.
func wrap(text string) string {
	const width = 76
	var out strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			out.WriteByte('\n')
			column = 0
		default:
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += len(word)
	}
	return out.String()
}
