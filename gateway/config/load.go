package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Load reads a configuration file into a model. A nil model means that it could not be decoded.
//
// file is read through env, whose Dir is its folder, so that a test needs no file system.
func (l Language) Load(file string, env *Env) (*Model, []Problem) {
	data, err := env.Read(filepath.Base(file))
	if err != nil {
		return nil, []Problem{Path("").Problem("reading configuration: %v", err)}
	}
	n, problems := Parse(data)
	if len(problems) > 0 {
		return nil, problems
	}
	m, problems := l.DecodeModel(n, Origin{Source: "file:" + file}, env)
	if m != nil {
		m.Files = env.Files()
	}
	return m, problems
}

// DecodeModel decodes a whole configuration. The model is nil when anything is wrong.
func (l Language) DecodeModel(n *yaml.Node, origin Origin, env *Env) (*Model, []Problem) {
	if n == nil {
		return nil, []Problem{Path("").Problem("the configuration is empty; it needs at least listeners and clusters")}
	}
	if n.Kind != yaml.MappingNode {
		return nil, []Problem{Path("").Problem("expected a mapping at the top, found %s", kindName(n))}
	}
	m := &Model{}
	m.SetDefaults()
	d := decoder{env: env}
	d.secrets(n)
	d.pairs(n, "", func(key string, value *yaml.Node) {
		at := Path(key)
		switch key {
		case "secrets":
		case "listeners":
			d.items(value, at, func(item *yaml.Node, at Path) {
				m.Listeners = append(m.Listeners, d.listener(l, item, at, origin))
			})
		case "clusters":
			d.items(value, at, func(item *yaml.Node, at Path) {
				m.Clusters = append(m.Clusters, d.cluster(l, item, at, origin))
			})
		default:
			if kind := l.kind(key); kind != nil {
				d.items(value, at, func(item *yaml.Node, at Path) { d.resource(l, kind, m, item, at, origin) })
				return
			}
			d.top(m, key, value, l)
		}
	})
	if o := m.Telemetry.OTLP; o != nil && o.TLS != nil {
		o.TLS.certPEM = d.pem("telemetry.otlp.tls.cert", o.TLS.Cert)
		o.TLS.caPEM = d.pem("telemetry.otlp.tls.ca", o.TLS.CA)
	}
	if len(d.problems) > 0 {
		return nil, d.problems
	}
	return m, nil
}

// top decodes a field of Model that is neither a list of resources nor a kind.
func (d *decoder) top(m *Model, key string, value *yaml.Node, l Language) {
	v := reflect.ValueOf(m).Elem()
	known := []string{"listeners", "clusters", "secrets"}
	for _, k := range l.Kinds {
		known = append(known, k.Name())
	}
	for _, f := range Fields(v.Type()) {
		if f.Name == key {
			d.value(value, Path(key), v.FieldByIndex(f.Index))
			return
		}
		known = append(known, f.Name)
	}
	d.fail(Path(key), "unknown field%s", Suggest(key, known))
}

func (d *decoder) items(n *yaml.Node, at Path, each func(item *yaml.Node, at Path)) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(at, "expected a list, found %s", kindName(n))
		return
	}
	for i, item := range n.Content {
		for item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		each(item, at.Index(i))
	}
}

// secrets decodes `secrets:` first, because everything else may name one.
func (d *decoder) secrets(n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != "secrets" {
			continue
		}
		all := map[string]Secret{}
		d.value(n.Content[i+1], "secrets", reflect.ValueOf(&all).Elem())
		d.env.secrets = all
	}
}

func (d *decoder) listener(l Language, n *yaml.Node, at Path, origin Origin) *Listener {
	out := &Listener{Origin: origin}
	out.Protocol, out.Block = d.block(l, n, at, out, Protocol.ListenerBlock)
	return out
}

func (d *decoder) cluster(l Language, n *yaml.Node, at Path, origin Origin) *Cluster {
	out := &Cluster{Origin: origin}
	out.SetDefaults()
	out.Protocol, out.Block = d.block(l, n, at, out, Protocol.ClusterBlock)
	if out.TLS != nil {
		tls := at.Field("tls")
		out.TLS.certPEM = d.pem(tls.Field("cert"), out.TLS.Cert)
		out.TLS.caPEM = d.pem(tls.Field("ca"), out.TLS.CA)
		out.TLS.parsed = &parsedTLS{}
	}
	return out
}

func (d *decoder) pem(at Path, file string) []byte {
	if file == "" {
		return nil
	}
	if strings.Contains(file, "-----BEGIN ") {
		return []byte(file)
	}
	data, err := d.env.readFile(file)
	if err != nil {
		d.fail(at, "reading certificate: %v", err)
	}
	return data
}

// block decodes a mapping whose fields are those of into, plus exactly one that is named like a protocol.
func (d *decoder) block(l Language, n *yaml.Node, at Path, into any, fresh func(Protocol) any) (protocol string, block any) {
	if n.Kind != yaml.MappingNode {
		d.fail(at, "expected a mapping, found %s", kindName(n))
		return "", nil
	}
	fields := map[string]bool{}
	var known []string
	for _, f := range Fields(reflect.TypeOf(into).Elem()) {
		fields[f.Name] = true
		known = append(known, f.Name)
	}
	var protocols []string
	for _, p := range l.Protocols {
		if fresh(p) != nil {
			protocols = append(protocols, p.Name())
		}
	}
	known = append(known, protocols...)
	own := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
	d.pairs(n, at, func(key string, value *yaml.Node) {
		p := l.protocol(key)
		switch {
		case fields[key]:
			own.Content = append(own.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
		case p == nil || fresh(p) == nil:
			d.fail(at.Field(key), "unknown field%s", Suggest(key, known))
			protocol = key // not a second complaint that the protocol is missing
		case block != nil:
			d.fail(at.Field(key), "a protocol is declared already: %s", protocol)
		default:
			protocol, block = key, fresh(p)
			d.value(value, at.Field(key), reflect.ValueOf(block).Elem())
		}
	})
	if protocol == "" {
		d.fail(at, "declares no protocol; add one of %s", strings.Join(protocols, ", "))
	}
	d.structure(own, at, reflect.ValueOf(into).Elem())
	return protocol, block
}

func (d *decoder) resource(l Language, kind Kind, m *Model, n *yaml.Node, at Path, origin Origin) {
	r, problems := kind.Decode(n, at, d.env)
	d.problems = append(d.problems, problems...)
	if len(problems) > 0 {
		return
	}
	r.Kind, r.Origin = kind.Name(), origin
	m.Resources = append(m.Resources, &r)
	for i, cluster := range r.Clusters {
		place := Path(fmt.Sprintf("%s(%s).clusters", kind.Name(), r.Name)).Index(i)
		m.Clusters = append(m.Clusters, d.cluster(l, cluster, place, origin))
	}
}
