package cloudconfig

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/quorumd/quorumd/agent/config"
)

// Format is what is rendered.
type Format string

// The formats; the package documentation tells what each is for.
const (
	Butane         Format = "butane"
	Ignition       Format = "ignition"
	CloudConfig    Format = "cloud-config"
	FCOSButane     Format = "fcos-butane"
	FCOS           Format = "fcos"
	CloudInit      Format = "cloud-init"
	IAM            Format = "iam"
	CloudFormation Format = "cloudformation"
)

// Formats lists all of them, as people should read them.
func Formats() []Format {
	return []Format{Butane, Ignition, CloudConfig, FCOSButane, FCOS, CloudInit, IAM, CloudFormation}
}

// UserDataFormats are those that a machine reads as its user-data.
func UserDataFormats() []Format { return []Format{Ignition, CloudConfig, FCOS, CloudInit} }

// system is the operating system that a format is for.
type system int

const (
	anyLinux system = iota
	flatcar
	fedoraCoreOS
)

func (f Format) system() system {
	switch f {
	case Butane, Ignition, CloudConfig:
		return flatcar
	case FCOS, FCOSButane:
		return fedoraCoreOS
	}
	return anyLinux
}

// byIgnition: Ignition itself fetches what the format names.
func (f Format) byIgnition() bool {
	return slices.Contains([]Format{Butane, Ignition, FCOSButane, FCOS}, f)
}

// Download is where a machine gets a file from.
type Download struct {
	// URL is https://, http:// or file://.
	URL string
	// SHA256 is its sum in lower-case hexadecimal; only a file:// may be without.
	SHA256 string
	// Present: the machine's image has the file in its place; URL is empty.
	Present bool
}

// DefaultEtcdVersion is the etcd that images are pulled for unless another is named.
const DefaultEtcdVersion = "3.6.16"

// Options are what the rendered text depends on, and all of it: the same options
// give the same text, whatever machine it is rendered on.
type Options struct {
	// Binary is the agent's, installed as /opt/bin/quorumd.
	Binary Download
	// Etcd is etcd's binary, or its release archive (.tar.gz). Only for CloudInit:
	// the other systems run etcd's image.
	Etcd Download
	// EtcdVersion is that of the image, such as 3.6.16; empty: DefaultEtcdVersion.
	EtcdVersion string
	// Config is the content of /etc/quorumd/quorumd.yaml and ConfigName its name in
	// messages. Empty: all defaults.
	Config     []byte
	ConfigName string
	// UserData is the format of the user-data in CloudFormation; empty: Ignition.
	UserData Format
	// Group is the name of the auto scaling group, for IAM. Region and Account
	// narrow the policy further; empty: any.
	Group, Region, Account string
}

var (
	sumPattern     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	versionPattern = regexp.MustCompile(`^3\.[0-9]{1,3}\.[0-9]{1,3}$`)
	// groupPattern is narrower than what AWS takes: no character that means
	// something in a policy.
	groupPattern  = regexp.MustCompile(`^[A-Za-z0-9._/@=+-]{1,255}$`)
	regionPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	// dirPattern: nothing that a unit file or a shell could take for its own.
	dirPattern     = regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	// urlPattern: printable, and nothing that a shell could take for its own.
	urlPattern = regexp.MustCompile(`^[A-Za-z0-9._~:/?#@!$&()*+,;=%-]+$`)
)

// check finds everything that is wrong with o for a format, and gives the
// configuration.
func (o Options) check(f Format) (config.Config, error) {
	if !slices.Contains(Formats(), f) {
		return config.Config{}, fmt.Errorf("format %q is unknown, allowed: %s", f, words(Formats()))
	}
	if f == IAM {
		return config.Config{}, o.checkIAM()
	}
	name := o.ConfigName
	if name == "" {
		name = "quorumd.yaml"
	}
	c, _, err := config.Parse(name, o.Config, nil)
	if err != nil {
		return c, err
	}
	errs := []error{refuseSet(f, map[string]string{"--group": o.Group, "--region": o.Region, "--account": o.Account})}
	if f == CloudFormation && c.Worker() {
		return c, errors.New("cloudformation makes a group of etcd members, but the configuration says role: worker; allowed: user-data for a group of your own")
	}
	if f != CloudFormation {
		errs = append(errs, refuseSet(f, map[string]string{"--user-data": string(o.UserData)}))
	} else if f = o.userData(); !slices.Contains(UserDataFormats(), f) {
		return c, fmt.Errorf("--user-data %q is no format of user-data, allowed: %s", f, words(UserDataFormats()))
	}
	errs = append(errs, o.Binary.check("binary", f), o.checkEtcd(f, c), checkPaths(name, c, f))
	return c, errors.Join(errs...)
}

func (o Options) userData() Format {
	if o.UserData == "" {
		return Ignition
	}
	return o.UserData
}

func (o Options) etcdVersion() string {
	if o.EtcdVersion == "" {
		return DefaultEtcdVersion
	}
	return o.EtcdVersion
}

func (o Options) checkEtcd(f Format, c config.Config) error {
	if c.Worker() {
		if o.Etcd != (Download{}) || o.EtcdVersion != "" {
			return errors.New("a worker runs no etcd (role: worker), so --etcd-url, --etcd-sha256, --etcd-present and --etcd-version mean nothing; leave them out")
		}
		return nil
	}
	if f == CloudInit {
		return errors.Join(o.Etcd.check("etcd", f), refuseSet(f, map[string]string{"--etcd-version": o.EtcdVersion}))
	}
	if o.Etcd != (Download{}) {
		return fmt.Errorf("--etcd-url, --etcd-sha256 and --etcd-present mean nothing to %s, which runs etcd's image; allowed: --etcd-version", f)
	}
	if !versionPattern.MatchString(o.etcdVersion()) {
		return fmt.Errorf("--etcd-version %q is no version of etcd, allowed: such as %s", o.EtcdVersion, DefaultEtcdVersion)
	}
	return nil
}

// check finds what is wrong with one download; its flags are --NAME-url and so on.
func (d Download) check(name string, f Format) error {
	switch {
	case d.Present && (d.URL != "" || d.SHA256 != ""):
		return fmt.Errorf("--%[1]s-present says that nothing is downloaded, but --%[1]s-url or --%[1]s-sha256 is given; allowed: one or the other", name)
	case d.Present:
		return nil
	case d.URL == "":
		return fmt.Errorf("--%[1]s-url is missing, allowed: where machines download it, or --%[1]s-present if their image has it", name)
	}
	u, err := url.Parse(d.URL)
	switch {
	case err != nil || !urlPattern.MatchString(d.URL):
		return fmt.Errorf("--%s-url %q is no URL, allowed: such as https://host/path", name, d.URL)
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "file":
		return fmt.Errorf("--%s-url %q is not supported, allowed: https://, http:// and file://", name, d.URL)
	case u.User != nil:
		return fmt.Errorf("--%s-url holds a user name, which everyone who reads user-data would see; allowed: a URL without", name)
	case u.Scheme == "file" && (u.Host != "" || !strings.HasPrefix(u.Path, "/")):
		return fmt.Errorf("--%s-url %q names no file, allowed: such as file:///srv/quorumd", name, d.URL)
	case u.Scheme == "file" && f.byIgnition():
		return fmt.Errorf("--%s-url %q cannot be read by Ignition, allowed: https:// and http://", name, d.URL)
	case u.Scheme != "file" && u.Host == "":
		return fmt.Errorf("--%s-url %q names no host, allowed: such as https://host/path", name, d.URL)
	case d.SHA256 == "" && u.Scheme != "file":
		return fmt.Errorf("--%s-sha256 is missing, allowed: the SHA-256 of what %s gives; it is what makes the download safe", name, d.URL)
	case d.SHA256 != "" && !sumPattern.MatchString(d.SHA256):
		return fmt.Errorf("--%s-sha256 %q is no SHA-256, allowed: 64 hexadecimal digits in lower case", name, d.SHA256)
	}
	return nil
}

// checkPaths refuses settings that the machine would not have: the unit's sandbox
// lets the agent write below /var/lib, and Flatcar's unit has one name.
func checkPaths(file string, c config.Config, f Format) error {
	var errs config.Errors
	refuse := func(key, problem string, args ...any) {
		errs = append(errs, config.Error{Origin: config.Origin{File: file}, Key: key, Problem: fmt.Sprintf(problem, args...)})
	}
	for _, d := range []struct{ key, dir string }{{"state_dir", c.StateDir}, {"etcd.data_dir", c.Etcd.DataDir}} {
		if path.Clean(d.dir) != d.dir || !strings.HasPrefix(d.dir, "/var/lib/") || !dirPattern.MatchString(d.dir) {
			refuse(d.key, "%q is not where a rendered machine has it, allowed: a directory below /var/lib", d.dir)
		}
	}
	if f.system() == flatcar && c.Etcd.Unit != flatcarUnit {
		refuse("etcd.unit", "Flatcar's own unit is %s, allowed: that, or leave it out", flatcarUnit)
	}
	checkFiles(c, f, refuse)
	if c.Systemd != config.Default().Systemd {
		refuse("systemd", "is for tests, allowed in user-data: leave it out")
	}
	if errs == nil {
		return nil
	}
	return errs
}

func (o Options) checkIAM() error {
	rest := o
	rest.Group, rest.Region, rest.Account = "", "", ""
	rest.Config, rest.ConfigName = nil, ""
	var errs []error
	if rest.Binary != (Download{}) || rest.Etcd != (Download{}) || rest.EtcdVersion != "" || rest.UserData != "" || o.Config != nil {
		errs = append(errs, errors.New("only --group, --region and --account mean something to iam"))
	}
	for _, p := range []struct {
		flag, value string
		pattern     *regexp.Regexp
		allowed     string
	}{
		{"--group", o.Group, groupPattern, "the auto scaling group's name, of letters, digits and ._/@=+-"},
		{"--region", o.Region, regionPattern, "such as eu-central-1"},
		{"--account", o.Account, accountPattern, "12 digits"},
	} {
		switch {
		case p.value == "" && p.flag == "--group":
			errs = append(errs, fmt.Errorf("--group is missing, allowed: %s", p.allowed))
		case p.value != "" && !p.pattern.MatchString(p.value):
			errs = append(errs, fmt.Errorf("%s %q is not valid, allowed: %s", p.flag, p.value, p.allowed))
		}
	}
	return errors.Join(errs...)
}

// refuseSet refuses flags that mean nothing to a format.
func refuseSet(f Format, flags map[string]string) error {
	var set []string
	for name, v := range flags {
		if v != "" {
			set = append(set, name)
		}
	}
	if set == nil {
		return nil
	}
	slices.Sort(set)
	return fmt.Errorf("%s mean nothing to %s; leave them out", strings.Join(set, ", "), f)
}

func words(fs []Format) string {
	s := make([]string, len(fs))
	for i, f := range fs {
		s[i] = string(f)
	}
	return strings.Join(s, ", ")
}
