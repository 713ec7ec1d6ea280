// Command gen writes Redis's command table as Go source.
//
// With -from it first condenses Redis's own definitions (src/commands/*.json of Redis 7.0.15, BSD licensed, see COPYING.redis) into
// commands.json, which keeps only what a proxy needs and is checked in; without it, the table is written again from that file.
//
//	go run ./protocols/redis/internal/gen -from redis-7.0.15/src/commands
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"go/format"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

type keySpec struct {
	Index   int    `json:"index,omitempty"`
	Keyword string `json:"keyword,omitempty"`
	From    int    `json:"from,omitempty"`
	Last    int    `json:"last"`
	Step    int    `json:"step,omitempty"`
	Limit   int    `json:"limit,omitempty"`
	Number  *int   `json:"number,omitempty"` // where, after the beginning, the count of keys stands
	First   int    `json:"first,omitempty"`  // the first key, counted from there
	Write   bool   `json:"write,omitempty"`
	Unknown bool   `json:"unknown,omitempty"`
}

type command struct {
	Name      string    `json:"name"`
	Container string    `json:"container,omitempty"`
	Group     string    `json:"group"`
	Since     string    `json:"since"`
	Arity     int       `json:"arity"`
	Flags     []string  `json:"flags,omitempty"`
	Tips      []string  `json:"tips,omitempty"`
	Keys      []keySpec `json:"keys,omitempty"`
}

func main() {
	log.SetFlags(0)
	from := flag.String("from", "", "folder of Redis's command definitions")
	dir := flag.String("dir", "protocols/redis", "folder of the package")
	flag.Parse()
	condensed := filepath.Join(*dir, "internal/gen/commands.json")
	if *from != "" {
		text, err := condense(*from)
		if err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(condensed, text, 0o644); err != nil {
			log.Fatal(err)
		}
	}
	text, err := os.ReadFile(condensed)
	if err != nil {
		log.Fatal(err)
	}
	src, err := generate(text)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*dir, "table_gen.go"), src, 0o644); err != nil {
		log.Fatal(err)
	}
}

// definition is one of Redis's JSON files.
type definition struct {
	Container string   `json:"container"`
	Group     string   `json:"group"`
	Since     string   `json:"since"`
	Arity     int      `json:"arity"`
	Flags     []string `json:"command_flags"`
	Tips      []string `json:"command_tips"`
	Specs     []struct {
		Flags []string `json:"flags"`
		Begin struct {
			Index   *struct{ Pos int } `json:"index"`
			Keyword *struct {
				Keyword   string
				StartFrom int `json:"startfrom"`
			} `json:"keyword"`
		} `json:"begin_search"`
		Find struct {
			Range *struct {
				LastKey int `json:"lastkey"`
				Step    int
				Limit   int
			} `json:"range"`
			KeyNum *struct {
				Index int `json:"keynumidx"`
				First int `json:"firstkey"`
				Step  int
			} `json:"keynum"`
		} `json:"find_keys"`
	} `json:"key_specs"`
}

func condense(dir string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("reading %s: no definitions", dir)
	}
	var out []command
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var defs map[string]definition
		if err := json.Unmarshal(text, &defs); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		for _, name := range slices.Sorted(maps.Keys(defs)) {
			d := defs[name]
			if d.Group == "sentinel" {
				continue // only a sentinel has these
			}
			c := command{Name: name, Container: d.Container, Group: d.Group, Since: d.Since, Arity: d.Arity, Flags: d.Flags, Tips: d.Tips}
			slices.Sort(c.Flags)
			c.Flags = slices.Compact(c.Flags)
			for _, s := range d.Specs {
				k := keySpec{Unknown: s.Begin.Index == nil && s.Begin.Keyword == nil || s.Find.Range == nil && s.Find.KeyNum == nil}
				for _, f := range s.Flags {
					k.Write = k.Write || f == "RW" || f == "OW" || f == "RM"
				}
				if s.Begin.Index != nil {
					k.Index = s.Begin.Index.Pos
				}
				if w := s.Begin.Keyword; w != nil {
					k.Keyword, k.From = strings.ToLower(w.Keyword), w.StartFrom
				}
				if r := s.Find.Range; r != nil {
					k.Last, k.Step, k.Limit = r.LastKey, r.Step, r.Limit
				}
				if n := s.Find.KeyNum; n != nil {
					k.Number, k.First, k.Step = &n.Index, n.First, n.Step
				}
				c.Keys = append(c.Keys, k)
			}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b command) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Name, b.Name))
	})
	var b bytes.Buffer
	b.WriteString("[\n")
	for i, c := range out {
		line, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		b.Write(line)
		if i < len(out)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n")
	return b.Bytes(), nil
}

var flagNames = map[string]string{
	"WRITE": "Write", "READONLY": "ReadOnly", "DENYOOM": "DenyOOM", "ADMIN": "Admin", "PUBSUB": "PubSub", "NOSCRIPT": "NoScript",
	"BLOCKING": "Blocking", "LOADING": "Loading", "STALE": "Stale", "NO_MULTI": "NoMulti", "NO_AUTH": "NoAuth", "FAST": "Fast",
	"NO_MANDATORY_KEYS": "NoMandatoryKeys", "ALLOW_BUSY": "AllowBusy", "MAY_REPLICATE": "MayReplicate",
	// Of no use to a proxy:
	"ASKING": "", "NO_ASYNC_LOADING": "", "PROTECTED": "", "SKIP_MONITOR": "", "SKIP_SLOWLOG": "", "SENTINEL": "", "ONLY_SENTINEL": "", "TOUCHES_ARBITRARY_KEYS": "",
}

var policies = map[string]string{
	"REQUEST_POLICY:ALL_NODES": "AllNodes", "REQUEST_POLICY:ALL_SHARDS": "AllShards", "REQUEST_POLICY:MULTI_SHARD": "MultiShard", "REQUEST_POLICY:SPECIAL": "SpecialRequest",
	"RESPONSE_POLICY:AGG_LOGICAL_AND": "LogicalAnd", "RESPONSE_POLICY:AGG_MIN": "Min", "RESPONSE_POLICY:AGG_SUM": "Sum",
	"RESPONSE_POLICY:ALL_SUCCEEDED": "AllSucceeded", "RESPONSE_POLICY:ONE_SUCCEEDED": "OneSucceeded", "RESPONSE_POLICY:SPECIAL": "SpecialResponse",
}

func generate(text []byte) ([]byte, error) {
	var all []command
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	subs := map[string][]command{}
	for _, c := range all {
		subs[c.Container] = append(subs[c.Container], c)
	}
	var b bytes.Buffer
	b.WriteString("// Code generated by protocols/redis/internal/gen from Redis 7.0's command definitions; DO NOT EDIT.\n// Their licence is in internal/gen/COPYING.redis.\n\npackage redis\n\n")
	b.WriteString("var commands = []Command{\n")
	id := 0
	for _, c := range subs[""] {
		if err := write(&b, c, subs[c.Name], &id); err != nil {
			return nil, err
		}
	}
	b.WriteString("}\n")
	fmt.Fprintf(&b, "\n// Count is the number of commands and subcommands, and the least number that is nobody's ID.\nconst Count = %d\n", id)
	return format.Source(b.Bytes())
}

func write(b *bytes.Buffer, c command, subs []command, id *int) error {
	fmt.Fprintf(b, "{ID: %d, Name: %q, Group: %q, Arity: %d", *id, strings.ToLower(c.Name), c.Group, c.Arity)
	*id++
	var flags []string
	for _, f := range c.Flags {
		name, ok := flagNames[f]
		if !ok {
			return fmt.Errorf("generating %s: unknown flag %s", c.Name, f)
		}
		if name != "" {
			flags = append(flags, name)
		}
	}
	if len(flags) > 0 {
		fmt.Fprintf(b, ", Flags: %s", strings.Join(flags, "|"))
	}
	for _, t := range c.Tips {
		kind, _, _ := strings.Cut(t, "_POLICY:")
		if kind == t {
			continue // NONDETERMINISTIC_OUTPUT and the like
		}
		name, ok := policies[t]
		if !ok {
			return fmt.Errorf("generating %s: unknown policy %s", c.Name, t)
		}
		fmt.Fprintf(b, ", %s: %s", kind[:1]+strings.ToLower(kind[1:]), name)
	}
	if len(c.Keys) > 0 {
		b.WriteString(", Keys: []KeySpec{")
		for _, k := range c.Keys {
			b.WriteString("{")
			if k.Unknown {
				b.WriteString("Unknown: true,")
			}
			if k.Keyword != "" {
				fmt.Fprintf(b, "Keyword: %q, From: %d,", k.Keyword, k.From)
			} else {
				fmt.Fprintf(b, "Index: %d,", k.Index)
			}
			if k.Number != nil {
				fmt.Fprintf(b, "Numbered: true, Number: %d, First: %d, Step: %d,", *k.Number, k.First, k.Step)
			} else {
				fmt.Fprintf(b, "Last: %d, Step: %d, Limit: %d,", k.Last, max(k.Step, 1), k.Limit)
			}
			if k.Write {
				b.WriteString("Write: true,")
			}
			b.WriteString("},")
		}
		b.WriteString("}")
	}
	if len(subs) > 0 {
		b.WriteString(", Sub: []Command{\n")
		for _, s := range subs {
			if err := write(b, s, nil, id); err != nil {
				return err
			}
		}
		b.WriteString("}")
	}
	b.WriteString("},\n")
	return nil
}
