package gateway

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"

	"github.com/sidewire/sidewire/gateway/admin"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/xds"
)

// feed is a control plane that is followed. A gateway has at most one, and none while its file is all there is.
type feed struct {
	client *xds.Client
	source source // that it was made from
	stop   context.CancelFunc
	ends   sync.WaitGroup
	unview func() // takes what it shows off the admin interface
}

// source is what a change of makes another client.
type source struct {
	servers   config.XDS
	node      config.Node
	bootstrap string // the text of an Envoy bootstrap file
}

func (f *feed) end() {
	if f != nil {
		f.stop()
		f.ends.Wait()
	}
}

// follow makes m the base of what a control plane sends. A client that is there already, from the same servers, stays and
// only learns its new base.
func (g *Gateway) follow(m *config.Model) []config.Problem {
	whole := *m
	whole.Partial = true
	_, problems := g.language.Compile(&whole, nil)
	problems = slices.DeleteFunc(problems, func(p config.Problem) bool { return p.Reference })
	if len(problems) > 0 {
		return problems
	}
	if g.feed != nil && reflect.DeepEqual(g.feed.source, source{servers: m.XDS, node: m.Node}) {
		g.feed.client.SetBase(m)
		return nil
	}
	servers, err := xds.ServersOf(m.XDS)
	if err != nil {
		return []config.Problem{config.Path("xds.servers").Problem("%v", err)}
	}
	node, err := xds.NodeOf(m.Node)
	if err != nil {
		return []config.Problem{config.Path("node").Problem("%v", err)}
	}
	return g.feedFrom(xds.Options{Node: node, Servers: servers, Base: m}, source{servers: m.XDS, node: m.Node}, config.Env{Dir: g.dir})
}

// loadBootstrap applies an Envoy bootstrap file: its static resources and control planes are all there is.
func (g *Gateway) loadBootstrap(path string, text []byte) []config.Problem {
	if g.feed != nil && g.feed.source.bootstrap == string(text) {
		return nil
	}
	o, problems := bootstrapOptions(path, text, g.override)
	if len(problems) > 0 {
		return problems
	}
	return g.feedFrom(o, source{bootstrap: string(text)}, config.Env{Dir: filepath.Dir(path)})
}

func bootstrapOptions(path string, text []byte, over Override) (xds.Options, []config.Problem) {
	b, err := xds.ReadBootstrap(text, config.SystemEnv(path))
	if err != nil {
		return xds.Options{}, []config.Problem{config.Path("").Problem("%v", err)}
	}
	base := &config.Model{Partial: true}
	base.SetDefaults()
	base.Admin.Address = b.Admin
	base.Node = config.Node{ID: b.Node.Id, Cluster: b.Node.Cluster, Zone: b.Node.GetLocality().GetZone()}
	base.Files = []string{path}
	over.apply(base)
	b.Node.Id, b.Node.Cluster = base.Node.ID, base.Node.Cluster
	return xds.Options{Node: b.Node, Servers: b.Servers, Base: base, Static: b.Static, Files: b.Files, Ignored: b.Ignored, Runtime: b.Runtime, Layers: b.Layers}, nil
}

// feedFrom starts a client in place of the one there is. The process is not ready before the first whole configuration.
func (g *Gateway) feedFrom(o xds.Options, from source, env config.Env) []config.Problem {
	xds.Agent(o.Node, g.version)
	o.Target, o.Metrics, o.Log, o.Now, o.Rand = g, g.metrics, g.logs.Logger("xds"), g.Now, g.Rand
	o.Env = func() *config.Env { return &config.Env{LookupEnv: os.LookupEnv, ReadFile: os.ReadFile, Dir: env.Dir} }
	for _, note := range o.Ignored {
		o.Log.Warn("bootstrap file", "note", note)
	}
	client, err := xds.New(o)
	if err != nil {
		return []config.Problem{config.Path("").Problem("%v", err)}
	}
	g.feed.end()
	if g.Snapshot() == nil {
		g.awaiting.Store(true)
	}
	if problems := client.Begin(); len(problems) > 0 {
		return problems
	}
	f := &feed{client: client, source: from}
	ctx, stop := context.WithCancel(g.ending)
	f.stop = stop
	f.ends.Go(func() { client.Run(ctx) })
	f.ends.Go(func() {
		select {
		case <-client.Synced():
			g.awaiting.Store(false)
			g.setState(admin.Live)
			g.log.Info("configuration of control plane complete", "version", g.Snapshot().Version)
		case <-ctx.Done():
		}
	})
	f.unview = g.View("xds", func() any { return client.Status() })
	g.feed = f
	return nil
}

// unfollow ends the client when the file names no control plane any more.
func (g *Gateway) unfollow() {
	if g.feed == nil {
		return
	}
	g.feed.end()
	g.feed.unview()
	g.feed = nil
	g.awaiting.Store(false)
}

// Synced is closed when the first whole configuration of a control plane is active; nil without a control plane.
func (g *Gateway) Synced() <-chan struct{} {
	if g.feed == nil {
		return nil
	}
	return g.feed.client.Synced()
}
