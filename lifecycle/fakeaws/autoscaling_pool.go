package fakeaws

import (
	"slices"
	"time"
)

func (c *Cloud) putWarmPool(req *request) (any, error) {
	const reuse = "InstanceReusePolicy.ReuseOnScaleIn"
	err := req.only("AutoScalingGroupName", "MaxGroupPreparedCapacity", "MinSize", "PoolState", reuse)
	if err != nil {
		return nil, err
	}
	group, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	g, err := c.present(group)
	if err != nil {
		return nil, err
	}
	p := WarmPool{MaxPrepared: NoPreparedCapacity}
	if g.WarmPool != nil {
		p = *g.WarmPool
	}
	if p.MaxPrepared, err = req.number("MaxGroupPreparedCapacity", p.MaxPrepared); err != nil {
		return nil, err
	}
	if p.MinSize, err = req.number("MinSize", p.MinSize); err != nil {
		return nil, err
	}
	if p.Reuse, err = req.boolean(reuse, p.Reuse); err != nil {
		return nil, err
	}
	p.State = fallback(req.form.Get("PoolState"), p.State)
	return nil, c.PutWarmPool(group, p)
}

func (c *Cloud) deleteWarmPool(req *request) (any, error) {
	group, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	force, err := req.boolean("ForceDelete", false)
	if err != nil {
		return nil, err
	}
	return nil, c.DeleteWarmPool(group, force)
}

func (c *Cloud) describeWarmPool(req *request) (any, error) {
	limit, err := recordLimit(req, 50, 50)
	if err != nil {
		return nil, err
	}
	g, err := c.named(req)
	if err != nil {
		return nil, err
	}
	part, next, err := page(g.listed(true), req.form.Get("NextToken"), limit)
	if err != nil {
		return nil, err
	}
	out := struct {
		WarmPool  *xmlWarmPool `xml:"WarmPoolConfiguration"`
		Instances members[xmlGroupInstance]
		NextToken string `xml:",omitempty"`
	}{WarmPool: newXMLWarmPool(*g), NextToken: next}
	for _, m := range part {
		out.Instances.add(newXMLGroupInstance(m))
	}
	return out, nil
}

func (c *Cloud) startInstanceRefresh(req *request) (any, error) {
	const preferences, template = "Preferences.", "DesiredConfiguration.LaunchTemplate."
	err := req.only("AutoScalingGroupName", "Strategy", preferences+"MinHealthyPercentage", preferences+"MaxHealthyPercentage",
		preferences+"InstanceWarmup", preferences+"SkipMatching", template+"LaunchTemplateId", template+"LaunchTemplateName", template+"Version")
	if err != nil {
		return nil, err
	}
	group, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	if s := req.form.Get("Strategy"); s != "" && s != "Rolling" {
		return nil, invalid("StartInstanceRefresh: the emulator does not know the strategy %s", s)
	}
	var cfg RefreshConfig
	if cfg.MinHealthy, err = req.optional(preferences + "MinHealthyPercentage"); err != nil {
		return nil, err
	}
	if cfg.MaxHealthy, err = req.optional(preferences + "MaxHealthyPercentage"); err != nil {
		return nil, err
	}
	warmup, err := req.number(preferences+"InstanceWarmup", 0)
	if err != nil {
		return nil, err
	}
	cfg.Warmup = time.Duration(warmup) * time.Second
	if cfg.SkipMatching, err = req.boolean(preferences+"SkipMatching", false); err != nil {
		return nil, err
	}
	cfg.TemplateVersion = req.form.Get(template + "Version")
	return refreshAnswer(c.StartRefresh(group, cfg))
}

func (c *Cloud) cancelInstanceRefresh(req *request) (any, error) {
	group, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	return refreshAnswer(c.CancelRefresh(group))
}

func refreshAnswer(id string, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return struct {
		ID string `xml:"InstanceRefreshId"`
	}{id}, nil
}

func (c *Cloud) describeRefreshes(req *request) (any, error) {
	limit, err := recordLimit(req, 50, 100)
	if err != nil {
		return nil, err
	}
	g, err := c.named(req)
	if err != nil {
		return nil, err
	}
	ids := req.list("InstanceRefreshIds.member")
	var all []xmlRefresh
	for _, r := range slices.Backward(g.refreshes) {
		if len(ids) == 0 || slices.Contains(ids, r.ID) {
			all = append(all, newXMLRefresh(r))
		}
	}
	part, next, err := page(all, req.form.Get("NextToken"), limit)
	if err != nil {
		return nil, err
	}
	return struct {
		Refreshes members[xmlRefresh] `xml:"InstanceRefreshes"`
		NextToken string              `xml:",omitempty"`
	}{members[xmlRefresh]{part}, next}, nil
}
