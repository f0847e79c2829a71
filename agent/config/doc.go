// Package config reads quorumd's configuration: a YAML file, then the
// environment over it, over defaults that are right for most nodes.
//
// # Strictness
//
// A mistake in this file shows at the worst moment: when a machine is told to go
// and the agent turns out to have waited for something else than was meant. So
// nothing is guessed and nothing is ignored. An unknown key, a value of another
// type, a key given twice, a second document: each is an error that names the
// file, the line, the key, what is wrong and what is allowed. All errors are
// reported at once, as [Errors], and then no configuration is returned.
//
// # Environment
//
// Each key has one variable: QUORUMD_ and the key in upper case with underscores
// for dots, so etcd.data_dir is QUORUMD_ETCD_DATA_DIR. Lists are separated by
// commas, reboot.windows by semicolons ("mon-fri 23:00 4h Europe/Berlin; sat 22:00
// 8h"), the words of reboot.sentinel_command by spaces. A variable overrides the
// file; one that starts with QUORUMD_ and means nothing is an error. QUORUMD_CONFIG
// names the file itself.
//
// # Where a value comes from
//
// [Load] also returns a [Provenance], which tells for every key whether it is the
// default, a line of the file or a variable. `quorumd config` prints it.
//
// All keys stand in one table (fields.go): what it holds is what can be
// configured, and its order is the order of every output.
package config
