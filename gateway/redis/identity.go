package redis

import (
	"slices"
	"time"
)

// viewKept is how long the connections of an identity are kept when its last session is gone. Names and passwords may be as many as an
// application has users; their connections must not be.
const viewKept = time.Minute

// left is told that a session has gone.
func (v *view) left() {
	if v.sessions--; v.sessions == 0 {
		v.unused()
	}
}

// unused sees that a view without sessions ends after a while. The one that clients begin with stays.
func (v *view) unused() {
	u := v.upstream
	if v.sessions > 0 || v.key == (viewKey{db: u.db}) || u.views[v.key] != v {
		return
	}
	v.idle = u.engine.clock
	if !v.resting {
		v.resting = true
		u.engine.sleep(viewKept, v.rest)
	}
}

// rest ends the view if nobody has come back.
func (v *view) rest() {
	u := v.upstream
	v.resting = false
	switch left := v.idle + int64(viewKept) - u.engine.clock; {
	case v.sessions > 0 || u.views[v.key] != v:
	case left > 0 || v.busy():
		v.resting = true
		u.engine.sleep(max(time.Duration(left), time.Second), v.rest)
	case u.mode == modeRouted:
		delete(u.views, v.key)
		for _, p := range v.pools {
			p.view.unused()
		}
	default:
		v.dissolve()
	}
}

// busy tells whether commands are under way in the view, or a routed upstream's view is made of it.
func (v *view) busy() bool {
	for _, parent := range v.upstream.parents {
		for _, pv := range parent.views {
			if slices.ContainsFunc(pv.pools, func(p *pool) bool { return p.view == v }) {
				return true
			}
		}
	}
	for b := range v.upstream.engine.backends {
		if b.pool.view == v && b.pending.len() > 0 {
			return true
		}
	}
	return false
}

// dissolve gives up a view that nobody uses any more.
func (v *view) dissolve() {
	delete(v.upstream.views, v.key)
	for b := range v.upstream.engine.backends {
		if b.pool.view == v {
			b.discard("nobody needs it any more")
		}
	}
}
