package cloudconfig

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/quorumd/quorumd/agent/config"
)

// MaxUserData is how many bytes of user-data EC2 takes.
const MaxUserData = 16384

// Error is a mistake in the options, as opposed to one of ours.
type Error struct{ err error }

func (e Error) Error() string { return e.err.Error() }

// Unwrap gives what is wrong; a [config.Errors] is in it if the configuration is.
func (e Error) Unwrap() error { return e.err }

// Render writes what o asks for in a format. An [Error] lists all that is wrong
// with o; then nothing is rendered.
func Render(f Format, o Options) ([]byte, error) {
	c, err := o.check(f)
	if err != nil {
		return nil, Error{err}
	}
	switch f {
	case IAM:
		return renderIAM(o)
	case CloudFormation:
		data, err := userData(o.userData(), o, c)
		if err != nil {
			return nil, err
		}
		return renderCloudFormation(o.userData(), string(data), c)
	case Butane, FCOSButane:
		m, err := newMachine(f, o, c)
		if err != nil {
			return nil, err
		}
		return renderButane(f, m)
	}
	return userData(f, o, c)
}

// userData renders one of [UserDataFormats], and makes sure that EC2 takes it.
func userData(f Format, o Options, c config.Config) ([]byte, error) {
	m, err := newMachine(f, o, c)
	if err != nil {
		return nil, err
	}
	var out []byte
	switch f {
	case Ignition, FCOS:
		out, err = renderIgnition(m)
	case CloudConfig:
		out, err = renderClassic(m)
	case CloudInit:
		out, err = renderCloudInit(m)
	default:
		return nil, fmt.Errorf("%s is no format of user-data", f)
	}
	if err == nil && len(out) > MaxUserData {
		return nil, Error{fmt.Errorf("the user-data has %d bytes with this configuration, allowed by EC2: at most %d", len(out), MaxUserData)}
	}
	return out, err
}

// renderIAM writes the policy as JSON, which is what IAM takes.
func renderIAM(o Options) ([]byte, error) {
	policy, err := rolePolicy(groupARN(o), o.Region)
	if err != nil {
		return nil, err
	}
	compact, err := json.Marshal(policy)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Indent(&b, compact, "", "  ")
	b.WriteByte('\n')
	return b.Bytes(), err
}
