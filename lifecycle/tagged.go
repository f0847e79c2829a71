package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/quorumd/quorumd/agent/policy"
)

// ErrNoTaggedGroup means that no group, or more than one, bears a tag.
var ErrNoTaggedGroup = errors.New("no single auto scaling group bears the tag")

// TaggedGroup reads the one auto scaling group of this account and region that bears
// a tag, KEY or KEY=VALUE, without its hooks. None, or more than one, is
// [ErrNoTaggedGroup]: which of them is meant is nobody's to guess.
func (f *Fleet) TaggedGroup(ctx context.Context, tag string) (policy.Group, error) {
	key, value, hasValue := strings.Cut(tag, "=")
	filter := types.Filter{Name: aws.String("tag-key"), Values: []string{key}}
	if hasValue {
		filter = types.Filter{Name: aws.String("tag:" + key), Values: []string{value}}
	}
	in := &autoscaling.DescribeAutoScalingGroupsInput{Filters: []types.Filter{filter}}
	var found []policy.Group
	for range maxPages {
		out, err := call(ctx, f, serviceAutoScaling, "DescribeAutoScalingGroups", f.asg.DescribeAutoScalingGroups, in)
		if err != nil {
			return policy.Group{}, fmt.Errorf("find the group with tag %s: %w", tag, err)
		}
		for i := range out.AutoScalingGroups {
			g, err := convertGroup(&out.AutoScalingGroups[i])
			if err != nil {
				return policy.Group{}, fmt.Errorf("find the group with tag %s: %w", tag, err)
			}
			found = append(found, g)
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			return single(tag, found)
		}
	}
	return policy.Group{}, fmt.Errorf("find the group with tag %s: %w", tag, malformed("more than %d pages", maxPages))
}

func single(tag string, found []policy.Group) (policy.Group, error) {
	if len(found) == 1 {
		return found[0], nil
	}
	names := "none does"
	if len(found) > 1 {
		list := make([]string, len(found))
		for i, g := range found {
			list[i] = g.Name
		}
		names = strings.Join(list, ", ") + " do; name the tag's value, too"
	}
	return policy.Group{}, fmt.Errorf("%w %s: %s", ErrNoTaggedGroup, tag, names)
}
