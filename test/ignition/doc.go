// Package ignition checks what package cloudconfig renders with the programs that
// will read it: Ignition's own parser, with its validation, and Butane's own
// translator, strictly. They need versions of modules that the agent does not, so
// this is a module of its own.
//
// It reads the golden files of cloud-config/testdata, which cloudconfig's tests keep
// equal to what is rendered. Run it by check.sh.
package ignition
