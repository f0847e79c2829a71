// Package imdsmock reads two instance metadata services with the agent's own client: the
// emulator's (lifecycle/fakeaws) and Amazon's own mock, amazon-ec2-metadata-mock. Every
// assertion is made of both, so that the emulator cannot say what the real service would
// not, and the client not rely on it.
//
// The mock needs versions of modules that the agent does not, so this is a module of its
// own. Run it by check.sh.
package imdsmock
