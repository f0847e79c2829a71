package lifecycle

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
)

// WriteTag writes the tag quorumd:cluster-id on the group; its instances do not inherit it.
// Auto Scaling cannot compare and write in one step. The group is read just before: a tag
// that is there already is left alone, nil if it has this value, else [ErrTagDiffers]. Two
// writers within that second are still possible: whoever relies on the tag reads it back.
func (f *Fleet) WriteTag(ctx context.Context, value string) error {
	if value == "" || len(value) > 256 {
		return fmt.Errorf("write tag: %d characters, of 1 to 256", len(value))
	}
	group, now, err := f.readTag(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("write tag: %w", err)
	case now == value:
		return nil
	case now != "":
		return fmt.Errorf("write tag %s: %w: %s", value, ErrTagDiffers, now)
	}
	tag := clusterTag(group, value)
	tag.PropagateAtLaunch = aws.Bool(false)
	in := &autoscaling.CreateOrUpdateTagsInput{Tags: []types.Tag{tag}}
	if _, err := call(ctx, f, serviceAutoScaling, "CreateOrUpdateTags", f.asg.CreateOrUpdateTags, in); err != nil {
		return fmt.Errorf("write tag %s: %w", value, err)
	}
	return nil
}

// DeleteTag removes the tag quorumd:cluster-id from the group if it has this value. No tag:
// nil. Another value: [ErrTagDiffers]; the group is read just before, see [Fleet.WriteTag].
func (f *Fleet) DeleteTag(ctx context.Context, value string) error {
	group, now, err := f.readTag(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("delete tag: %w", err)
	case now == "":
		return nil
	case now != value:
		return fmt.Errorf("delete tag %s: %w: %s", value, ErrTagDiffers, now)
	}
	in := &autoscaling.DeleteTagsInput{Tags: []types.Tag{clusterTag(group, value)}}
	if _, err := call(ctx, f, serviceAutoScaling, "DeleteTags", f.asg.DeleteTags, in); err != nil {
		return fmt.Errorf("delete tag %s: %w", value, err)
	}
	return nil
}

// readTag gives the group's name and its tag's value, empty for none.
func (f *Fleet) readTag(ctx context.Context) (group, value string, err error) {
	group, err = f.groupName(ctx)
	if err != nil {
		return "", "", err
	}
	g, found, err := f.readGroup(ctx, group)
	if err == nil && !found {
		err = fmt.Errorf("read group %s: it does not exist", group)
	}
	return group, g.ClusterTag, err
}

func clusterTag(group, value string) types.Tag {
	return types.Tag{ResourceId: &group, ResourceType: aws.String(tagResource), Key: aws.String(ClusterTag), Value: &value}
}
