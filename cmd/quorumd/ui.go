package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/quorumd/quorumd/agent/config"
)

// The rules of output, once:
//
//   - results go to stdout, words about them to stderr: a pipe gets only results;
//   - colour only on a terminal, and not when NO_COLOR is set or TERM is dumb;
//   - an error begins with "quorumd: ", except those of a configuration, which begin
//     with file and line, one a line, so that editors find the place;
//   - what other machines said is cleaned of control characters before it is shown.

// ui is where a command reads and writes.
type ui struct {
	in       io.Reader
	out, err io.Writer
	// terminal: out is one.
	terminal bool
	// colour: out may be coloured.
	colour bool
}

func newUI(in io.Reader, out, err io.Writer, environ []string) *ui {
	u := &ui{in: in, out: out, err: err, terminal: isTerminal(out)}
	u.colour = u.terminal && !slices.ContainsFunc(environ, func(e string) bool {
		return e == "TERM=dumb" || strings.HasPrefix(e, "NO_COLOR=") && e != "NO_COLOR="
	})
	return u
}

// isTerminal takes every character device but /dev/null for one.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// say writes words to stderr, one line.
func (u *ui) say(format string, args ...any) { fmt.Fprintf(u.err, format+"\n", args...) }

// confirm asks for a "yes", unless it was said before.
func (u *ui) confirm(yes bool) error {
	if yes {
		return nil
	}
	u.say("Type 'yes' to go on:")
	// No input at all is no "yes", whatever the reason.
	word, _ := bufio.NewReader(u.in).ReadString('\n')
	if strings.TrimSpace(word) != "yes" {
		return errors.New("not confirmed, nothing was changed")
	}
	return nil
}

// fail writes an error to stderr.
func (u *ui) fail(err error) {
	prefix := "quorumd: "
	var places config.Errors
	if errors.As(err, &places) {
		prefix = ""
	}
	for i, line := range strings.Split(err.Error(), "\n") {
		if i == 0 {
			line = prefix + line
		}
		u.say("%s", clean(line))
	}
}

// json writes a result as indented JSON.
func (u *ui) json(v any) error {
	enc := json.NewEncoder(u.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// Styles.
const (
	bold = "1"
	red  = "31"
)

// paint colours s where that is allowed. Not in a table: the codes would count as
// width.
func (u *ui) paint(style, s string) string {
	if !u.colour || s == "" {
		return s
	}
	return "\x1b[" + style + "m" + s + "\x1b[0m"
}

// table writes rows in aligned columns; an empty cell is a dash, except in the last
// column, which is for words. All rows have as many cells as the head.
func table(w io.Writer, head []string, rows [][]string) error {
	rows = append([][]string{head}, rows...)
	width := make([]int, len(head))
	for _, row := range rows {
		for i, c := range row {
			row[i] = clean(c)
			if row[i] == "" && i < len(row)-1 {
				row[i] = "-"
			}
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			fmt.Fprintf(&line, "%-*s  ", width[i], c)
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// clean takes away what could move a terminal's cursor or break a line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		if unicode.IsSpace(r) {
			return ' '
		}
		return '?'
	}, s)
}
