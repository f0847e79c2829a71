package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/quorumd/quorumd/agent/policy"
)

// maxRounds bounds how often the ids that EC2 does not know are dropped from the question.
// EC2 names all of them at once, so one round is enough.
const maxRounds = 5

// Instances asks EC2 for the state of instances. The answer holds all of ids that have
// the form of an instance id; others ("infra0") are left out, for EC2 has no
// word on them.
//
// It asks by id rather than by the filter instance-id, though EC2 answers a question with an
// unknown id by an error as a whole. With the filter, silence would be the sign that
// an instance is gone, and silence is also what an answer cut short gives, or the wrong
// region. By id, EC2 says explicitly what it does not know: those ids are dropped and the
// rest asked again. This instance, which exists since it is asking, is in every question: so
// [policy.InstanceNotFound] is concluded only beside a successful answer, of the right
// account and region, that finds another instance of ours.
func (f *Fleet) Instances(ctx context.Context, ids []policy.InstanceID) (map[policy.InstanceID]policy.Instance, error) {
	ask := []string{string(f.cfg.Instance)}
	for _, id := range ids {
		if instanceID.MatchString(string(id)) {
			ask = append(ask, string(id))
		}
	}
	slices.Sort(ask)
	ask = slices.Compact(ask)
	found, unknown, err := f.describeInstances(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("read instances: %w", err)
	}
	out := make(map[policy.InstanceID]policy.Instance, len(ids))
	for _, id := range ids {
		if i, ok := found[string(id)]; ok {
			out[id] = i
		} else if slices.Contains(unknown, string(id)) {
			out[id] = policy.Instance{State: policy.InstanceNotFound}
		}
	}
	return out, nil
}

// describeInstances asks for ids, and for the others again when EC2 does not know some.
// It returns without an error only if every id is either found or, by EC2's word, unknown.
func (f *Fleet) describeInstances(ctx context.Context, ids []string) (found map[string]policy.Instance, unknown []string, err error) {
	for range maxRounds {
		found, err = f.describePages(ctx, ids)
		if err == nil {
			for _, id := range ids {
				if _, ok := found[id]; !ok {
					return nil, nil, malformed("nothing said of %s", id)
				}
			}
			return found, unknown, nil
		}
		gone := notFound(err)
		if slices.Contains(gone, string(f.cfg.Instance)) {
			return nil, nil, fmt.Errorf("EC2 does not know the instance that asks: %w", err)
		}
		rest := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(gone, id) })
		if len(rest) == len(ids) {
			return nil, nil, err
		}
		for _, id := range ids {
			if slices.Contains(gone, id) {
				unknown = append(unknown, id)
			}
		}
		ids = rest
	}
	return nil, nil, fmt.Errorf("EC2 named unknown instances %d times: %w", maxRounds, err)
}

// quotedIDs matches what EC2 names in its refusal: The instance IDs 'i-..., i-...' do not exist.
var quotedIDs = regexp.MustCompile(`\bi-(?:[0-9a-f]{17}|[0-9a-f]{8})\b`)

// notFound gives the ids that EC2 says it does not know; nil for any other error.
func notFound(err error) []string {
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "InvalidInstanceID.NotFound" {
		return nil
	}
	return quotedIDs.FindAllString(api.ErrorMessage(), -1)
}

// describePages asks once, following NextToken.
func (f *Fleet) describePages(ctx context.Context, ids []string) (map[string]policy.Instance, error) {
	found := make(map[string]policy.Instance, len(ids))
	in := &ec2.DescribeInstancesInput{InstanceIds: ids}
	for range maxPages {
		out, err := call(ctx, f, serviceEC2, "DescribeInstances", f.ec2.DescribeInstances, in)
		if err != nil {
			return nil, err
		}
		for _, r := range out.Reservations {
			for i := range r.Instances {
				id, inst, err := convertInstance(&r.Instances[i])
				if err != nil {
					return nil, err
				}
				found[id] = inst
			}
		}
		if aws.ToString(out.NextToken) == "" {
			return found, nil
		}
		in.NextToken = out.NextToken
	}
	return nil, malformed("more than %d pages", maxPages)
}

// convertInstance puts EC2's instance into policy's words.
func convertInstance(a *types.Instance) (id string, inst policy.Instance, err error) {
	id = aws.ToString(a.InstanceId)
	if !instanceID.MatchString(id) || a.State == nil || a.State.Name == "" {
		return "", policy.Instance{}, malformed("instance %.64q without a state", id)
	}
	return id, policy.Instance{State: policy.InstanceState(a.State.Name), Address: aws.ToString(a.PrivateIpAddress)}, nil
}
