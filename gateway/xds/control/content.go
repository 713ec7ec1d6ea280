package control

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/xds"
)

// lists are the fields that a file of the folder may have. What a process decides for itself (admin, drain) is not sent.
var lists = []string{"listeners", "clusters", "databases"}

// groupsOf reads all there is: the root's files are for everybody, those of a folder inside are for the sidecars whose
// node.cluster is that folder's name, beside the common ones. The empty name is everybody else's group.
func groupsOf(c content, language config.Language) (map[string]*cache.Snapshot, []config.Problem) {
	common, folders, problems := c.list("")
	if len(problems) > 0 {
		return nil, problems
	}
	out := make(map[string]*cache.Snapshot)
	for _, name := range append([]string{""}, folders...) {
		all := common
		if name != "" {
			more, _, wrong := c.list(name)
			problems = append(problems, wrong...)
			all = append(slices.Clone(common), more...)
		}
		s, wrong := group(c, all, language)
		problems = append(problems, wrong...)
		out[name] = s
	}
	if len(problems) > 0 {
		return nil, dedupe(problems)
	}
	return out, nil
}

// dedupe drops what the common files told once a group.
func dedupe(problems []config.Problem) []config.Problem {
	seen := make(map[string]bool)
	return slices.DeleteFunc(problems, func(p config.Problem) bool {
		told := seen[p.String()]
		seen[p.String()] = true
		return told
	})
}

// entry is one resource and where it stands.
type entry struct {
	file string
	at   config.Path
	body map[string]any
}

// group compiles what one group of sidecars gets, exactly as each of them will, and packs it.
func group(c content, paths []string, language config.Language) (*cache.Snapshot, []config.Problem) {
	model := &config.Model{Partial: true}
	model.SetDefaults()
	entries := make(map[string][]entry)
	var problems []config.Problem
	for _, path := range paths {
		m, wrong := decode(c, path, language, entries)
		problems = append(problems, wrong...)
		if m != nil {
			model.Listeners = append(model.Listeners, m.Listeners...)
			model.Clusters = append(model.Clusters, m.Clusters...)
			model.Resources = append(model.Resources, m.Resources...)
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	if _, wrong := language.Compile(model, nil); len(wrong) > 0 {
		return nil, placed(wrong, entries)
	}
	return packed(entries)
}

// decode decodes one file strictly and notes its entries.
func decode(c content, path string, language config.Language, entries map[string][]entry) (*config.Model, []config.Problem) {
	text, err := c.read(path)
	if err != nil {
		return nil, []config.Problem{config.Path(path).Problem("%v", err)}
	}
	node, problems := config.Parse(text)
	if len(problems) > 0 {
		return nil, inFile(path, problems)
	}
	if node == nil {
		return nil, nil
	}
	top, err := lifted(node)
	if err != nil {
		return nil, []config.Problem{config.Path(path).Problem("%v", err)}
	}
	for key := range top {
		if !slices.Contains(lists, key) {
			problems = append(problems, config.Path(path+": "+key).Problem("a control plane sends %s only", strings.Join(lists, ", ")))
		}
	}
	env := standIns(c, path)
	wrong := withoutTLS(node, env)
	m, more := language.DecodeModel(node, config.Origin{Source: "file:" + path}, env)
	wrong = append(wrong, more...)
	if problems = append(problems, inFile(path, wrong)...); len(problems) > 0 {
		return nil, problems
	}
	for _, list := range lists {
		for i, body := range top[list] {
			if err := inline(c, path, body); err != nil {
				return nil, []config.Problem{config.Path(path+": "+string(config.Path(list).Index(i))).Problem("%v", err)}
			}
			entries[list] = append(entries[list], entry{path, config.Path(list).Index(i), body})
		}
	}
	return m, nil
}

// lifted is a file's lists, their entries as trees.
func lifted(top *yaml.Node) (map[string][]map[string]any, error) {
	out := make(map[string][]map[string]any)
	for i := 0; i+1 < len(top.Content); i += 2 {
		list := top.Content[i].Value
		out[list] = nil
		for _, item := range top.Content[i+1].Content {
			for item.Kind == yaml.AliasNode {
				item = item.Alias
			}
			body, err := xds.Tree(item)
			if err != nil {
				return nil, err
			}
			out[list] = append(out[list], body)
		}
	}
	return out, nil
}

// standIns is the world as decoding may ask for it here: environment and secret files are the sidecars', so that any answer
// will do for those that are not here as well.
func standIns(c content, path string) *config.Env {
	env := config.SystemEnv(path)
	env.LookupEnv = func(string) (string, bool) { return "stand-in", true }
	env.ReadFile = func(name string) ([]byte, error) {
		b, err := c.read(name)
		if errors.Is(err, fs.ErrNotExist) {
			return []byte("stand-in"), nil
		}
		return b, err
	}
	return env
}

// withoutTLS takes the `tls:` blocks out of listeners and clusters before they are compiled, because certificates are the
// sidecars' too, and checks the blocks by themselves.
func withoutTLS(top *yaml.Node, env *config.Env) (problems []config.Problem) {
	for i := 0; i+1 < len(top.Content); i += 2 {
		list := top.Content[i].Value
		for j, item := range top.Content[i+1].Content {
			at := config.Path(list).Index(j).Field("tls")
			for k := 0; k+1 < len(item.Content); k += 2 {
				if item.Content[k].Value != "tls" || item.Kind != yaml.MappingNode {
					continue
				}
				switch list {
				case "listeners":
					problems = append(problems, config.Decode(item.Content[k+1], at, new(config.ServerTLS), env)...)
				case "clusters":
					problems = append(problems, config.Decode(item.Content[k+1], at, new(config.ClientTLS), env)...)
				default:
					continue
				}
				item.Content = slices.Delete(item.Content, k, k+2)
				break
			}
		}
	}
	return problems
}

// inline puts the rule file that a database names under the entry's `rules:`: a sidecar does not have it.
func inline(c content, path string, body map[string]any) error {
	name, ok := body["file"].(string)
	if !ok {
		return nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(path), name)
	}
	text, err := c.read(name)
	if err != nil {
		return err
	}
	content, problems := config.Parse(text)
	if len(problems) > 0 {
		return fmt.Errorf("reading %s: %w", name, config.Problems(problems))
	}
	delete(body, "file")
	body["rules"] = content
	return nil
}

func inFile(path string, problems []config.Problem) []config.Problem {
	for i := range problems {
		problems[i].Path = config.Path(path + ": " + string(problems[i].Path))
	}
	return problems
}

// placed gives problems of the whole the file and the place in it.
func placed(problems []config.Problem, entries map[string][]entry) []config.Problem {
	for i, p := range problems {
		list, rest, _ := strings.Cut(string(p.Path), "[")
		number, rest, _ := strings.Cut(rest, "]")
		n, err := strconv.Atoi(number)
		if err != nil || n >= len(entries[list]) {
			continue
		}
		e := entries[list][n]
		problems[i].Path = config.Path(e.file + ": " + string(e.at) + rest)
	}
	return problems
}

// packed is what travels. Versions are fingerprints of the content, so that a restart of the control plane changes nothing.
func packed(entries map[string][]entry) (*cache.Snapshot, []config.Problem) {
	var problems []config.Problem
	all := make(map[resource.Type][]types.Resource)
	note := func(e entry, err error) {
		problems = append(problems, config.Path(e.file+": "+string(e.at)).Problem("%v", err))
	}
	for _, e := range entries["databases"] {
		m, err := xds.WriteDatabase(e.body)
		if err != nil {
			note(e, err)
			continue
		}
		all[resource.ExtensionConfigType] = append(all[resource.ExtensionConfigType], m)
	}
	for _, e := range entries["clusters"] {
		c, a, err := xds.WriteCluster(e.body)
		if err != nil {
			note(e, err)
			continue
		}
		all[resource.ClusterType] = append(all[resource.ClusterType], c)
		all[resource.EndpointType] = append(all[resource.EndpointType], a)
	}
	for i, e := range entries["listeners"] {
		m, err := xds.WriteListener(e.body, databasesOf(e.body, i, entries))
		if err != nil {
			note(e, err)
			continue
		}
		all[resource.ListenerType] = append(all[resource.ListenerType], m)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	version, err := fingerprint(all)
	if err != nil {
		return nil, []config.Problem{config.Path("").Problem("%v", err)}
	}
	s, err := cache.NewSnapshot(version, all)
	if err != nil {
		return nil, []config.Problem{config.Path("").Problem("%v", err)}
	}
	return s, nil
}

// databasesOf are the virtual databases that a listener brings along: those it names or, when it names none, all of them
// with the first listener, because a resource that nobody refers to does not travel.
func databasesOf(body map[string]any, i int, entries map[string][]entry) []string {
	var names, named []string
	for _, e := range entries["databases"] {
		names = append(names, fmt.Sprint(e.body["name"]))
	}
	for _, block := range body {
		b, ok := block.(map[string]any)
		if !ok {
			continue
		}
		list, _ := b["databases"].([]any)
		for _, d := range list {
			if slices.Contains(names, fmt.Sprint(d)) {
				named = append(named, fmt.Sprint(d))
			}
		}
	}
	if i == 0 {
		return names
	}
	return named
}

func fingerprint(all map[resource.Type][]types.Resource) (string, error) {
	h := fnv.New64a()
	for _, t := range []resource.Type{resource.ListenerType, resource.ClusterType, resource.EndpointType, resource.ExtensionConfigType} {
		for _, r := range all[t] {
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, "%s %d ", t, len(b))
			h.Write(b)
		}
	}
	return fmt.Sprintf("%016x", h.Sum64()), nil
}
