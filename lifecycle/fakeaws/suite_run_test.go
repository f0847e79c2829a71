package fakeaws

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

// client makes one call: the answer as JSON, or the error's code and message.
type client func(service, action string, with json.RawMessage) (answer json.RawMessage, code, message string, err error)

// The suite through the SDK for Go, whose clients stay concrete types.
func TestSuite(t *testing.T) {
	r := newSuiteRig(t)
	r.play(suite(), func(step) client { return r.sdk() })
}

// boto3 decodes the same answers with a parser of its own, and writes requests with a
// serializer of its own: both must see the same group, field by field.
func TestSuiteByBoto3(t *testing.T) {
	want := transcript(t)
	r := newSuiteRig(t)
	boto := startBoto(t, r.url)
	got := r.play(suite(), func(step) client { return boto })
	compare(t, want, got)
}

// The same through the aws command, for some of the calls.
func TestSuiteByCommandLine(t *testing.T) {
	want := transcript(t)
	r := newSuiteRig(t)
	cli := commandLine(t, r.url)
	got := r.play(suite(), func(s step) client {
		if s.cli {
			return cli
		}
		return r.sdk()
	})
	compare(t, want, got)
}

// transcript is what the suite answers to the SDK for Go.
func transcript(t *testing.T) []string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes: not with -short")
	}
	r := newSuiteRig(t)
	return r.play(suite(), func(step) client { return r.sdk() })
}

func compare(t *testing.T, want, got []string) {
	t.Helper()
	for i, s := range suite() {
		if diff := cmp.Diff(want[i], got[i]); diff != "" {
			t.Errorf("step %d, %s %s (-SDK for Go +this client):\n%s", i+1, s.call, s.with, diff)
		}
	}
}

func newSuiteRig(t *testing.T) *rig {
	g := hooked(3)
	g.Min, g.Max = 1, 5
	return newRig(t, Config{}, g)
}

// play runs the steps and returns all answers, in one form whatever the client.
func (r *rig) play(steps []step, with func(step) client) []string {
	r.t.Helper()
	var out []string
	for i, s := range steps {
		r.clock.Advance(s.wait)
		service, action, ok := strings.Cut(s.call, " ")
		if !ok {
			service, action = serviceAutoScaling, s.call
		}
		answer, code, message, err := with(s)(service, action, json.RawMessage(r.fill(s.with)))
		if err != nil {
			r.t.Fatalf("step %d, %s: %v", i+1, s.call, err)
		}
		if err := r.judge(s, answer, code, message); err != nil {
			r.t.Fatalf("step %d, %s %s: %v\n%s", i+1, s.call, s.with, err, r.timeline())
		}
		out = append(out, canonical(r.t, answer)+code+" "+message)
	}
	return out
}

func (r *rig) timeline() string {
	var b bytes.Buffer
	_ = WriteTimeline(&b, r.cloud.Events()) // into memory
	return r.shorten(b.String())
}

// judge compares one answer with what the step wants.
func (r *rig) judge(s step, answer json.RawMessage, code, message string) error {
	wantCode, wantMessage, _ := strings.Cut(s.err, ": ")
	if code != wantCode || !strings.Contains(message, r.fill(wantMessage)) {
		return fmt.Errorf("error %s: %s; want %q", code, message, s.err)
	}
	if s.get != "" {
		var v any
		if err := json.Unmarshal(answer, &v); err != nil {
			return err
		}
		if got := r.shorten(strings.Join(pick(v, strings.Split(s.get, ".")), " ")); got != s.want {
			return fmt.Errorf("%s is %q, want %q", s.get, got, s.want)
		}
	}
	for _, t := range strings.Split(s.target, ", ") {
		if name, want, ok := strings.Cut(t, " "); ok {
			status, got := r.metadataOf(r.fill(name), "autoscaling/target-lifecycle-state")
			if status != 200 || got != want {
				return fmt.Errorf("metadata of %s: target %q (status %d), want %q", name, got, status, want)
			}
		}
	}
	return nil
}

// metadataOf reads an instance's metadata without a network.
func (r *rig) metadataOf(id, path string) (int, string) {
	r.t.Helper()
	tr := Transport{r.cloud.MetadataHandler(id)}
	ask := func(method, path, header, value string) (int, string) {
		req, err := newRequest(r.ctx, method, "http://metadata/latest/"+path, header, value)
		ok(r.t, err)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		ok(r.t, err)
		return resp.StatusCode, string(b)
	}
	_, token := ask("PUT", "api/token", ttlHeader, "60")
	return ask("GET", "meta-data/"+path, tokenHeader, token)
}

var (
	numbered = regexp.MustCompile(`#\d+`)
	idForm   = regexp.MustCompile(`i-[0-9a-f]{17}`)
)

// fill puts ids in the place of "#n".
func (r *rig) fill(s string) string {
	return numbered.ReplaceAllStringFunc(s, func(name string) string {
		n := 0
		_, err := fmt.Sscanf(name, "#%d", &n)
		ok(r.t, err)
		return r.id(n)
	})
}

// shorten is the inverse of fill.
func (r *rig) shorten(s string) string { return idForm.ReplaceAllStringFunc(s, r.name) }

// pick gives the values at a path, those of lists one after another.
func pick(v any, path []string) []string {
	switch v := v.(type) {
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, pick(e, path)...)
		}
		return out
	case map[string]any:
		if len(path) == 0 {
			return nil
		}
		return pick(v[path[0]], path[1:])
	case nil:
		return nil
	}
	return []string{fmt.Sprint(v)}
}

// canonical is an answer without what only one client has: its own metadata, and its own
// way to write a time or what is not there.
func canonical(t *testing.T, answer json.RawMessage) string {
	t.Helper()
	if len(bytes.TrimSpace(answer)) == 0 {
		return ""
	}
	var v any
	ok(t, json.Unmarshal(answer, &v))
	if v = strip(v); v == nil {
		return ""
	}
	b, err := json.MarshalIndent(v, "", " ")
	ok(t, err)
	return string(b)
}

func strip(v any) any {
	switch v := v.(type) {
	case string:
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			return at.UTC().Format(time.RFC3339)
		}
		if v == "" {
			return nil
		}
	case []any:
		out := []any{}
		for _, e := range v {
			out = append(out, strip(e))
		}
		if len(out) > 0 {
			return out
		}
		return nil
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if e = strip(e); e != nil && k != "ResultMetadata" && k != "ResponseMetadata" {
				out[k] = e
			}
		}
		if len(out) > 0 {
			return out
		}
		return nil
	}
	return v
}

// sdkCall makes a call of a client's method: parameters and answer have the API's names.
func sdkCall[In, Out, Opt any](do func(context.Context, *In, ...func(*Opt)) (*Out, error)) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, with json.RawMessage) (any, error) {
		var in In
		d := json.NewDecoder(bytes.NewReader(with))
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			return nil, err
		}
		return do(ctx, &in)
	}
}

// sdk is the SDK for Go.
func (r *rig) sdk() client {
	calls := map[string]func(context.Context, json.RawMessage) (any, error){
		"AttachInstances":                     sdkCall(r.asg.AttachInstances),
		"CancelInstanceRefresh":               sdkCall(r.asg.CancelInstanceRefresh),
		"CompleteLifecycleAction":             sdkCall(r.asg.CompleteLifecycleAction),
		"CreateOrUpdateTags":                  sdkCall(r.asg.CreateOrUpdateTags),
		"DeleteLifecycleHook":                 sdkCall(r.asg.DeleteLifecycleHook),
		"DeleteTags":                          sdkCall(r.asg.DeleteTags),
		"DeleteWarmPool":                      sdkCall(r.asg.DeleteWarmPool),
		"DescribeAutoScalingGroups":           sdkCall(r.asg.DescribeAutoScalingGroups),
		"DescribeAutoScalingInstances":        sdkCall(r.asg.DescribeAutoScalingInstances),
		"DescribeInstanceRefreshes":           sdkCall(r.asg.DescribeInstanceRefreshes),
		"DescribeInstances":                   sdkCall(r.ec2.DescribeInstances),
		"DescribeLifecycleHooks":              sdkCall(r.asg.DescribeLifecycleHooks),
		"DescribeScalingActivities":           sdkCall(r.asg.DescribeScalingActivities),
		"DescribeTags":                        sdkCall(r.asg.DescribeTags),
		"DescribeWarmPool":                    sdkCall(r.asg.DescribeWarmPool),
		"DetachInstances":                     sdkCall(r.asg.DetachInstances),
		"EnterStandby":                        sdkCall(r.asg.EnterStandby),
		"ExitStandby":                         sdkCall(r.asg.ExitStandby),
		"PutLifecycleHook":                    sdkCall(r.asg.PutLifecycleHook),
		"PutWarmPool":                         sdkCall(r.asg.PutWarmPool),
		"RecordLifecycleActionHeartbeat":      sdkCall(r.asg.RecordLifecycleActionHeartbeat),
		"ResumeProcesses":                     sdkCall(r.asg.ResumeProcesses),
		"SetDesiredCapacity":                  sdkCall(r.asg.SetDesiredCapacity),
		"SetInstanceHealth":                   sdkCall(r.asg.SetInstanceHealth),
		"StartInstanceRefresh":                sdkCall(r.asg.StartInstanceRefresh),
		"StartInstances":                      sdkCall(r.ec2.StartInstances),
		"StopInstances":                       sdkCall(r.ec2.StopInstances),
		"SuspendProcesses":                    sdkCall(r.asg.SuspendProcesses),
		"TerminateInstanceInAutoScalingGroup": sdkCall(r.asg.TerminateInstanceInAutoScalingGroup),
		"TerminateInstances":                  sdkCall(r.ec2.TerminateInstances),
		"UpdateAutoScalingGroup":              sdkCall(r.asg.UpdateAutoScalingGroup),
	}
	return func(_, action string, with json.RawMessage) (json.RawMessage, string, string, error) {
		call, known := calls[action]
		if !known {
			return nil, "", "", fmt.Errorf("no method for %s", action)
		}
		out, err := call(r.ctx, with)
		var api smithy.APIError
		if errors.As(err, &api) {
			return nil, api.ErrorCode(), api.ErrorMessage(), nil
		}
		if err != nil {
			return nil, "", "", err
		}
		b, err := json.Marshal(out)
		return b, "", "", err
	}
}

// awsEnv makes a process use the emulator, and nothing of this machine's configuration.
func awsEnv(url string) []string {
	keep := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "AWS_") })
	return append(keep, "AWS_ENDPOINT_URL="+url, "AWS_DEFAULT_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKIAOPERATOR",
		"AWS_SECRET_ACCESS_KEY=fake", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=", "AWS_CONFIG_FILE=/nonexistent",
		"AWS_SHARED_CREDENTIALS_FILE=/nonexistent", "AWS_EC2_METADATA_DISABLED=true")
}

// startBoto runs boto3 for as long as the test.
func startBoto(t *testing.T, url string) client {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err == nil {
		err = exec.CommandContext(t.Context(), python, "-c", "import boto3").Run()
	}
	if err != nil {
		t.Skipf("no python3 with boto3 on this machine: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/boto.py")
	cmd.Env, cmd.Stderr = awsEnv(url), t.Output()
	in, err := cmd.StdinPipe()
	ok(t, err)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close() // the script ends with its input
		_ = cmd.Wait() // whatever it thought of that
	})
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	return func(service, action string, with json.RawMessage) (json.RawMessage, string, string, error) {
		call, err := json.Marshal(map[string]any{"service": service, "action": action, "with": with})
		if err != nil {
			return nil, "", "", err
		}
		if _, err := in.Write(append(call, '\n')); err != nil {
			return nil, "", "", err
		}
		if !lines.Scan() {
			return nil, "", "", fmt.Errorf("boto3 ended: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
		}
		var answer struct {
			Result        json.RawMessage
			Code, Message string
		}
		err = json.Unmarshal(lines.Bytes(), &answer)
		return answer.Result, answer.Code, answer.Message, err
	}
}

var (
	cliError = regexp.MustCompile(`An error occurred \((\S+)\) when calling the \S+ operation: (.*)`)
	capital  = regexp.MustCompile(`[A-Z]+[a-z0-9]+`)
)

// commandName is an action as the aws command spells it: DescribeAutoScalingGroups is
// describe-auto-scaling-groups.
func commandName(action string) string {
	return strings.ToLower(strings.Join(capital.FindAllString(action, -1), "-"))
}

// commandLine is the aws command, one process a call.
func commandLine(t *testing.T, url string) client {
	t.Helper()
	aws, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the aws command is not installed")
	}
	run := func(args ...string) ([]byte, string, error) {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), aws, args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = awsEnv(url), &stdout, &stderr
		err := cmd.Run()
		return stdout.Bytes(), stderr.String(), err
	}
	if _, stderr, err := run("--version"); err != nil {
		t.Skipf("the aws command does not run: %v: %s", err, stderr)
	}
	return func(service, action string, with json.RawMessage) (json.RawMessage, string, string, error) {
		out, stderr, err := run(service, commandName(action), "--cli-input-json", string(with), "--output", "json", "--no-paginate")
		if err == nil {
			return out, "", "", nil
		}
		if m := cliError.FindStringSubmatch(stderr); m != nil {
			return nil, m[1], strings.TrimSpace(m[2]), nil
		}
		return nil, "", "", fmt.Errorf("%w: %s", err, stderr)
	}
}
