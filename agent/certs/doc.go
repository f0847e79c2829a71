// Package certs keeps the certificate files of one side of the conversation: the
// ones that a node shows to etcd or to other agents, and the authorities that it
// believes.
//
// # Files that change
//
// A certificate is renewed by replacing files, at any time and one after the
// other. So every handshake looks at the files, and reads those that changed. What
// is new and whole is used from that handshake on, without a restart. What is new
// and broken (half written, a certificate and a key that do not belong together,
// no certificate at all, a file that is gone) is not: the last good content stays,
// the log says so once, and [Set.Certificates] until it is repaired. Connections
// that are open stay open.
//
// An authority is replaced in three steps, each on all nodes before the next: a
// bundle of the old and the new one as CA file; certificates of the new one; the
// new one alone as CA file.
//
// # What an error proves
//
// A handshake that fails proves nothing about who is at the other end: our own
// certificate may be the one that expired. [Set.Explain] adds what is known to be
// wrong with our own files, with the file's name and the date.
package certs
