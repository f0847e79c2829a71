package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
)

// The rules of output, once:
//
//   - results go to stdout, words about them to stderr: a pipe gets only results;
//   - colour only on a terminal, and not when NO_COLOR is set or TERM is dumb;
//   - an error is one message that begins with "quorumd: "; several lines stay so;
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

// fail writes an error to stderr.
func (u *ui) fail(err error) {
	for i, line := range strings.Split(err.Error(), "\n") {
		if i == 0 {
			line = "quorumd: " + line
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
	bold  = "1"
	red   = "31"
	green = "32"
	faint = "2"
)

// paint colours s where that is allowed. In a table, only the last column may be
// painted: the codes would count as width.
func (u *ui) paint(style, s string) string {
	if !u.colour || s == "" {
		return s
	}
	return "\x1b[" + style + "m" + s + "\x1b[0m"
}

// table writes rows in aligned columns; an empty cell is a dash.
func table(w io.Writer, head []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = clean(c)
			if cells[i] == "" && i < len(row)-1 {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	return tw.Flush()
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
