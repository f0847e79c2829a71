package cloudconfig_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	cloudconfig "github.com/quorumd/quorumd/cloud-config"
	"github.com/quorumd/quorumd/lifecycle"
)

type policyDoc struct {
	Version   string
	Statement []struct {
		Sid, Effect string
		Action      []string
		Resource    any
		Condition   map[string]map[string]any
	}
}

// The policy allows what lifecycle needs and nothing else, and what writes only on
// the one group.
func TestPolicyIsTheLeast(t *testing.T) {
	var p policyDoc
	text := render(t, cloudconfig.IAM, cloudconfig.Options{Group: "payments", Region: "us-gov-west-1"})
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range p.Statement {
		all = append(all, s.Action...)
		for _, a := range s.Action {
			if reads := strings.Contains(a, ":Describe"); (s.Resource == "*") != reads {
				t.Errorf("%s is allowed on %v", a, s.Resource)
			}
		}
		if want := "arn:aws-us-gov:autoscaling:us-gov-west-1:*:autoScalingGroup:*:autoScalingGroupName/payments"; s.Resource != "*" && s.Resource != want {
			t.Errorf("%s: resource is %v, want %s", s.Sid, s.Resource, want)
		}
	}
	slices.Sort(all)
	if d := cmp.Diff(lifecycle.Permissions(), all); d != "" {
		t.Errorf("(-lifecycle.Permissions +policy):\n%s", d)
	}
}

// template is a CloudFormation template as plain maps.
func template(t *testing.T, o cloudconfig.Options) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(render(t, cloudconfig.CloudFormation, o)), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// at goes down a path of keys.
func at(t *testing.T, v any, path ...string) any {
	t.Helper()
	for i, key := range path {
		m, ok := v.(map[string]any)
		if !ok || m[key] == nil {
			t.Fatalf("nothing at %s", strings.Join(path[:i+1], "."))
		}
		v = m[key]
	}
	return v
}

// walk visits every mapping.
func walk(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(v)
		for _, x := range v {
			walk(x, visit)
		}
	case []any:
		for _, x := range v {
			walk(x, visit)
		}
	}
}

// Every Ref, GetAtt and FindInMap names something that is there.
func TestTemplateReferences(t *testing.T) {
	doc := template(t, cloudconfig.Options{Binary: download()})
	known := map[string]bool{"AWS::Region": true}
	for _, section := range []string{"Parameters", "Resources"} {
		for name := range at(t, doc, section).(map[string]any) {
			known[name] = true
		}
	}
	used := map[string]bool{}
	walk(doc, func(m map[string]any) {
		if name, ok := m["Ref"].(string); ok {
			used[name] = true
		}
		if list, ok := m["Fn::GetAtt"].([]any); ok {
			used[list[0].(string)] = true
		}
		if list, ok := m["Fn::FindInMap"].([]any); ok {
			at(t, doc, "Mappings", list[0].(string), "3", list[2].(string))
		}
		if text, ok := m["Fn::Sub"].(string); ok && strings.Contains(text, "${ClusterName}") {
			used["ClusterName"] = true
		}
	})
	for name := range used {
		if !known[name] {
			t.Errorf("%s is used and is nowhere", name)
		}
	}
	for name := range at(t, doc, "Parameters").(map[string]any) {
		if !used[name] {
			t.Errorf("parameter %s is not used", name)
		}
	}
}

func TestTemplateSaysWhatMatters(t *testing.T) {
	doc := template(t, cloudconfig.Options{Binary: download(), Config: []byte(configured)})
	group := at(t, doc, "Resources", "Group", "Properties")
	var hooks []string
	for _, h := range at(t, group, "LifecycleHookSpecificationList").([]any) {
		hooks = append(hooks, fmt.Sprint(at(t, h, "LifecycleHookName"), " ", at(t, h, "LifecycleTransition"), " ", at(t, h, "DefaultResult")))
	}
	want := []string{"up autoscaling:EC2_INSTANCE_LAUNCHING ABANDON", "down autoscaling:EC2_INSTANCE_TERMINATING CONTINUE"}
	if d := cmp.Diff(want, hooks); d != "" {
		t.Errorf("hooks (-want +got):\n%s", d)
	}
	metadata := at(t, doc, "Resources", "LaunchTemplate", "Properties", "LaunchTemplateData", "MetadataOptions")
	wantMetadata := map[string]any{"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1}
	if d := cmp.Diff(any(wantMetadata), metadata); d != "" {
		t.Errorf("metadata (-want +got):\n%s", d)
	}
	var open []string
	walk(doc, func(m map[string]any) {
		if m["Type"] == "AWS::EC2::SecurityGroupIngress" {
			p := m["Properties"].(map[string]any)
			if !cmp.Equal(p["GroupId"], p["SourceSecurityGroupId"]) || p["CidrIp"] != nil {
				t.Errorf("%v is open to others than members", p["Description"])
			}
			open = append(open, fmt.Sprint(p["IpProtocol"], " ", p["FromPort"], "-", p["ToPort"]))
		}
	})
	slices.Sort(open)
	if d := cmp.Diff([]string{"tcp 12379-12379", "tcp 2380-2380", "tcp 2382-2382"}, open); d != "" {
		t.Errorf("open ports (-want +got):\n%s", d)
	}
	update := at(t, doc, "Resources", "Group", "UpdatePolicy", "AutoScalingRollingUpdate")
	if n := at(t, update, "MaxBatchSize"); n != 1 {
		t.Errorf("an update replaces %v at once", n)
	}
	for size, m := range at(t, doc, "Mappings", "Sizes").(map[string]any) {
		n, surge, percent := 0, at(t, m, "Surge").(int), at(t, m, "Percent").(int)
		if _, err := fmt.Sscan(size, &n); err != nil {
			t.Fatal(err)
		}
		if surge != n+1 || n*percent/100 != surge {
			t.Errorf("size %d: %d machines at most, but %d %% are %d", n, surge, percent, n*percent/100)
		}
	}
}

// The user-data in the template is byte for byte what is rendered by itself.
func TestTemplateCarriesUserData(t *testing.T) {
	for _, f := range cloudconfig.UserDataFormats() {
		o := cloudconfig.Options{Binary: download(), Config: []byte(configured)}
		if f == cloudconfig.CloudInit {
			o.Etcd.Present = true
		}
		want := render(t, f, o)
		o.UserData = f
		got := at(t, template(t, o), "Resources", "LaunchTemplate", "Properties", "LaunchTemplateData", "UserData", "Fn::Base64")
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", f, d)
		}
	}
}

func TestTemplateByLint(t *testing.T) {
	lint, err := exec.LookPath("cfn-lint")
	if err != nil {
		t.Skip("cfn-lint is not installed")
	}
	for _, name := range []string{"cloudformation.yaml", "cloudformation-cloud-init.yaml"} {
		out, err := exec.CommandContext(t.Context(), lint, filepath.Join("testdata", name)).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
