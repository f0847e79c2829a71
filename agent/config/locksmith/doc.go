// Package locksmith turns what locksmithd was configured with into a configuration
// of quorumd's, and says what of it has no counterpart.
//
// locksmithd reads its environment: Flatcar's update.conf and drop-ins of its unit;
// flags in a drop-in's ExecStart go over it. Everything here is text in, text out.
package locksmith
