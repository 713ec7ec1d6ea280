package gateway

import (
	"os"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/xds"
)

// Override is what the command line decides over any file.
type Override struct {
	Node    string        // node.id
	Cluster string        // node.cluster
	Drain   time.Duration // drain.timeout; 0: the file's
}

func (o Override) apply(m *config.Model) {
	if o.Node != "" {
		m.Node.ID = o.Node
	}
	if o.Cluster != "" {
		m.Node.Cluster = o.Cluster
	}
	if o.Drain > 0 {
		m.Drain.Timeout = config.Duration(o.Drain)
	}
}

// Override sets what the command line decides. It must be called before the first LoadFile.
func (g *Gateway) Override(o Override) { g.override = o }

// Validate compiles a file, sidewire's own or an Envoy bootstrap, without doing anything it says.
func Validate(path string, over Override, protocols ...Protocol) (*config.Snapshot, []config.Problem) {
	language := Language(protocols...)
	if text, err := os.ReadFile(path); err == nil && xds.IsBootstrap(text) {
		return validateBootstrap(path, text, over, language)
	}
	m, problems := language.Load(path, config.SystemEnv(path))
	if len(problems) > 0 {
		return nil, problems
	}
	over.apply(m)
	return language.Compile(m, nil)
}

func validateBootstrap(path string, text []byte, over Override, language config.Language) (*config.Snapshot, []config.Problem) {
	o, problems := bootstrapOptions(path, text, over)
	if len(problems) > 0 {
		return nil, problems
	}
	t := &compiled{language: language}
	o.Target, o.Env = t, func() *config.Env { return config.SystemEnv(path) }
	problems = xds.Check(o)
	return t.snapshot, problems
}

// compiled is a target at which nothing is done.
type compiled struct {
	language config.Language
	snapshot *config.Snapshot
}

func (c *compiled) Language() config.Language  { return c.language }
func (c *compiled) Snapshot() *config.Snapshot { return c.snapshot }
func (c *compiled) Apply(s *config.Snapshot) []config.Problem {
	c.snapshot = s
	return nil
}

var _ xds.Target = (*Gateway)(nil)
