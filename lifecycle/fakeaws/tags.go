package fakeaws

import (
	"slices"
	"strconv"
	"strings"
)

// tagResource is the only resource type that tags of Auto Scaling have.
const tagResource = "auto-scaling-group"

// taggedGroup is one entry of a Tags parameter.
type taggedGroup struct {
	group string
	tag   Tag
	any   bool // no value was given
}

func readTags(req *request) ([]taggedGroup, error) {
	var out []taggedGroup
	for n := 1; ; n++ {
		p := "Tags.member." + strconv.Itoa(n) + "."
		if !req.form.Has(p+"Key") && !req.form.Has(p+"ResourceId") {
			break
		}
		t := taggedGroup{group: req.form.Get(p + "ResourceId"), any: !req.form.Has(p + "Value"),
			tag: Tag{Key: req.form.Get(p + "Key"), Value: req.form.Get(p + "Value"),
				PropagateAtLaunch: req.form.Get(p+"PropagateAtLaunch") == "true"}}
		switch kind := req.form.Get(p + "ResourceType"); {
		case kind != "" && kind != tagResource:
			return nil, invalid("Invalid resource type %s", kind)
		case t.tag.Key == "":
			return nil, invalid("Tag key must not be empty")
		case strings.HasPrefix(t.tag.Key, "aws:"):
			return nil, invalid("Tag keys must not begin with aws:")
		}
		out = append(out, t)
	}
	if len(out) == 0 {
		_, err := req.need("Tags")
		return nil, err
	}
	return out, nil
}

// changeTags applies f to every named group, or to none if one of them is unknown.
func (c *Cloud) changeTags(req *request, f func(*group, taggedGroup)) error {
	tags, err := readTags(req)
	if err != nil {
		return err
	}
	return c.try(func() error {
		for _, t := range tags {
			if c.findGroup(t.group) == nil {
				return noGroup(t.group)
			}
		}
		for _, t := range tags {
			f(c.findGroup(t.group), t)
		}
		c.dirty = true
		return nil
	})
}

func (c *Cloud) putTags(req *request) (any, error) {
	return noResult{}, c.changeTags(req, func(g *group, t taggedGroup) {
		if i := slices.IndexFunc(g.Tags, func(o Tag) bool { return o.Key == t.tag.Key }); i >= 0 {
			g.Tags[i] = t.tag
			return
		}
		g.Tags = append(g.Tags, t.tag)
	})
}

func (c *Cloud) deleteTags(req *request) (any, error) {
	return noResult{}, c.changeTags(req, func(g *group, t taggedGroup) {
		g.Tags = slices.DeleteFunc(g.Tags, func(o Tag) bool {
			return o.Key == t.tag.Key && (t.any || o.Value == t.tag.Value)
		})
	})
}

func (c *Cloud) describeTags(req *request) (any, error) {
	limit, err := recordLimit(req, 50, 100)
	if err != nil {
		return nil, err
	}
	filters := req.filters("Filters.member", "Values.member")
	for _, f := range filters {
		switch f.name {
		case tagResource, "key", "value", "propagate-at-launch":
		default:
			return nil, invalid("Invalid filter name: %s", f.name)
		}
	}
	var all []xmlTag
	for _, g := range c.see().groups {
		for _, t := range g.Tags {
			if tagMatches(g.Name, t, filters) {
				all = append(all, newXMLTag(g.Name, t))
			}
		}
	}
	part, next, err := page(all, req.form.Get("NextToken"), limit)
	if err != nil {
		return nil, err
	}
	return struct {
		Tags      members[xmlTag]
		NextToken string `xml:",omitempty"`
	}{members[xmlTag]{part}, next}, nil
}

func tagMatches(group string, t Tag, filters []filter) bool {
	for _, f := range filters {
		v := ""
		switch f.name {
		case tagResource:
			v = group
		case "key":
			v = t.Key
		case "value":
			v = t.Value
		case "propagate-at-launch":
			v = strconv.FormatBool(t.PropagateAtLaunch)
		}
		if !slices.Contains(f.values, v) {
			return false
		}
	}
	return true
}
