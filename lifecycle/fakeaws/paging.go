package fakeaws

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// page returns the part of items that a NextToken points to, and the token of the rest.
func page[T any](items []T, token string, size int) (part []T, next string, err error) {
	from := 0
	if token != "" {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		offset, ok := strings.CutPrefix(string(raw), "from:")
		if err == nil && ok {
			from, err = strconv.Atoi(offset)
		}
		if err != nil || !ok || from < 0 {
			return nil, "", &Error{http.StatusBadRequest, "InvalidNextToken", "The token '" + token + "' is invalid."}
		}
	}
	from = min(from, len(items))
	to := min(from+size, len(items))
	if to < len(items) {
		next = base64.RawURLEncoding.EncodeToString([]byte("from:" + strconv.Itoa(to)))
	}
	return items[from:to], next, nil
}

// like matches a filter's pattern, in which * stands for any text and ? for one character.
func like(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	switch pattern[0] {
	case '*':
		return like(pattern[1:], s) || s != "" && like(pattern, s[1:])
	case '?':
		return s != "" && like(pattern[1:], s[1:])
	}
	return s != "" && s[0] == pattern[0] && like(pattern[1:], s[1:])
}

func likeAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if like(p, s) {
			return true
		}
	}
	return false
}
