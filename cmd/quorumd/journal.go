package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/quorumd/quorumd/agent/explain"
)

// newLog makes the agent's log. "auto" is the journal when systemd started us,
// else text on a terminal, else JSON.
func newLog(w io.Writer, format, level string) *slog.Logger {
	var min slog.Level
	if err := min.UnmarshalText([]byte(level)); err != nil {
		min = slog.LevelInfo // the configuration was checked
	}
	opts := &slog.HandlerOptions{Level: min}
	if format == "auto" {
		stream, _ := journal.StderrIsJournalStream()
		switch {
		case stream && journal.Enabled():
			format = "journal"
		case isTerminal(w):
			format = "text"
		default:
			format = "json"
		}
	}
	switch format {
	case "journal":
		return slog.New(&journalHandler{min: min})
	case "text":
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

// journalHandler sends records to the journal with fields of their own, so that
// `journalctl -u quorumd QUORUMD_REASON=AwaitLock` works. The message holds the
// attributes too, for those who only read.
type journalHandler struct {
	min   slog.Level
	attrs []slog.Attr
}

func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.min }

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{min: h.min, attrs: append(append([]slog.Attr(nil), h.attrs...), attrs...)}
}

// WithGroup keeps names flat: a journal field has no structure.
func (h *journalHandler) WithGroup(string) slog.Handler { return h }

func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	fields := map[string]string{"SYSLOG_IDENTIFIER": "quorumd"}
	var line strings.Builder
	line.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		v := fmt.Sprint(a.Value.Resolve().Any())
		if v == "" {
			return true
		}
		fields["QUORUMD_"+fieldName(a.Key)] = v
		if _, ok := explain.Find(v); ok && (a.Key == "reason" || a.Key == "warning") {
			fields["MESSAGE_ID"] = explain.MessageID(v) // for journalctl -x
		}
		fmt.Fprintf(&line, " %s=%s", a.Key, quoted(v))
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	return journal.Send(line.String(), priority(r.Level), fields)
}

// fieldName makes a journal field name: upper case letters, digits, underscores.
func fieldName(key string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			return c
		}
		return '_'
	}, key)
}

func quoted(v string) string {
	if strings.ContainsAny(v, " \"\n\t=") {
		return fmt.Sprintf("%q", v)
	}
	return v
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
