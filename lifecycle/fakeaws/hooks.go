package fakeaws

import "slices"

// PutHook creates a hook of a group, or replaces it. What waits already goes on as before.
func (c *Cloud) PutHook(name string, h Hook) error {
	if err := h.setDefaults(); err != nil {
		return invalid("%v", err)
	}
	return c.changeGroup(name, func(g *group) error {
		g.Hooks = slices.Clone(g.Hooks) // views share it
		if i := slices.IndexFunc(g.Hooks, func(o Hook) bool { return o.Name == h.Name }); i >= 0 {
			g.Hooks[i] = h
		} else {
			g.Hooks = append(g.Hooks, h)
		}
		c.emit(Event{Kind: HookPut, Group: g.Name, Hook: h.Name, Transition: h.Transition})
		return nil
	})
}

// DeleteHook deletes a hook. Instances that wait for it go on as if it had been completed: ABANDON
// for those that launch, CONTINUE for the others.
func (c *Cloud) DeleteHook(name, hook string) error {
	return c.changeGroup(name, func(g *group) error {
		i := slices.IndexFunc(g.Hooks, func(h Hook) bool { return h.Name == hook })
		if i < 0 {
			return invalid("No Lifecycle Hook found with name: %s", hook)
		}
		g.Hooks = slices.Delete(slices.Clone(g.Hooks), i, i+1)
		c.emit(Event{Kind: HookDeleted, Group: g.Name, Hook: hook})
		for _, m := range slices.Clone(g.members) {
			for _, h := range slices.Clone(m.open) {
				if h.Name != hook {
					continue
				}
				result := Continue
				if h.Transition == Launching {
					result = Abandon
				}
				c.finishHook(m, h, result, "deletion of the hook")
			}
		}
		return nil
	})
}
