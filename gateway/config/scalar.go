package config

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Duration is a time span as people write it: 500ms, 5s, 1h30m.
type Duration time.Duration

// Std is d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// DecodeYAML reads a duration; a bare number is refused, because seconds and milliseconds are both common guesses.
func (d *Duration) DecodeYAML(n *yaml.Node, at Path, _ *Env) []Problem {
	if n.Kind != yaml.ScalarNode {
		return []Problem{at.Problem("expected a duration such as 5s, found %s", kindName(n))}
	}
	if n.Value == "0" {
		*d = 0
		return nil
	}
	v, err := time.ParseDuration(n.Value)
	if err != nil {
		return []Problem{at.Problem("%q is not a duration; write a number with a unit, such as 500ms, 5s or 1h", n.Value)}
	}
	if v < 0 {
		return []Problem{at.Problem("a duration cannot be negative: %s", n.Value)}
	}
	*d = Duration(v)
	return nil
}

// Bytes is a size as people write it: 512, 64KB, 1MB, 2GB (powers of 1024).
type Bytes int64

// DecodeYAML reads a size.
func (b *Bytes) DecodeYAML(n *yaml.Node, at Path, _ *Env) []Problem {
	if n.Kind != yaml.ScalarNode {
		return []Problem{at.Problem("expected a size such as 64KB, found %s", kindName(n))}
	}
	text := strings.TrimSpace(strings.ToUpper(n.Value))
	unit := int64(1)
	for _, u := range []struct {
		suffix string
		size   int64
	}{{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"KB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}, {"B", 1}} {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			text, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < 0 || v > (1<<62)/unit {
		return []Problem{at.Problem("%q is not a size; write a number with an optional unit, such as 512, 64KB or 1MB", n.Value)}
	}
	*b = Bytes(v * unit)
	return nil
}

// Secret is a value that is never printed. It is written in place, or named: {env: X}, {file: path}, {secret: name}.
type Secret struct {
	value string
	from  string // "env:X", "file:path", "secret:name"; empty when written in place
}

// Plain is a secret whose value is already known.
func Plain(value string) Secret { return Secret{value: value} }

// Value is the secret itself. Callers hand it to a handshake and nowhere else.
func (s Secret) Value() string { return s.value }

// IsZero reports whether nothing was configured.
func (s Secret) IsZero() bool { return s == Secret{} }

// String never shows the value; it shows where it came from.
func (s Secret) String() string {
	switch {
	case s.IsZero():
		return ""
	case s.from != "":
		return "[redacted " + s.from + "]"
	default:
		return "[redacted]"
	}
}

// GoString keeps %#v from printing the value.
func (s Secret) GoString() string { return s.String() }

// MarshalText makes every encoder print the redacted form.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// DecodeYAML reads a secret in one of its four forms.
func (s *Secret) DecodeYAML(n *yaml.Node, at Path, env *Env) []Problem {
	switch {
	case n.Kind == yaml.ScalarNode:
		if n.Tag != "!!null" {
			s.value = n.Value
		}
		return nil
	case n.Kind != yaml.MappingNode || len(n.Content) != 2:
		return []Problem{at.Problem("expected a value, {env: NAME}, {file: PATH} or {secret: NAME}")}
	}
	key, name := n.Content[0].Value, n.Content[1].Value
	s.from = key + ":" + name
	switch key {
	case "env":
		v, ok := env.lookupEnv(name)
		if !ok {
			return []Problem{at.Problem("environment variable %s is not set", name)}
		}
		s.value = v
	case "file":
		data, err := env.readFile(name)
		if err != nil {
			return []Problem{at.Problem("reading secret: %v", err)}
		}
		// Editors and `echo` end a file with a newline; no password ends with one on purpose.
		s.value = strings.TrimRight(string(data), "\r\n")
	case "secret":
		v, ok := env.secret(name)
		if !ok {
			return []Problem{at.Problem("no secret named %q%s", name, Suggest(name, env.secretNames()))}
		}
		s.value = v.value
	default:
		return []Problem{at.Problem("unknown kind of secret %q; expected env, file or secret", key)}
	}
	return nil
}

// Network is a range of addresses, such as 10.0.0.0/8; a single address is a range of one.
type Network struct{ netip.Prefix }

// DecodeYAML reads a network.
func (p *Network) DecodeYAML(n *yaml.Node, at Path, _ *Env) []Problem {
	if n.Kind != yaml.ScalarNode {
		return []Problem{at.Problem("expected a network such as 10.0.0.0/8, found %s", kindName(n))}
	}
	if a, err := netip.ParseAddr(n.Value); err == nil {
		p.Prefix = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		return nil
	}
	prefix, err := netip.ParsePrefix(n.Value)
	if err != nil {
		return []Problem{at.Problem("%q is not a network; write an address or a range such as 10.0.0.0/8", n.Value)}
	}
	p.Prefix = prefix.Masked()
	return nil
}

// FileMode is a file's permissions, in octal.
type FileMode uint32

// DecodeYAML reads permissions.
func (m *FileMode) DecodeYAML(n *yaml.Node, at Path, _ *Env) []Problem {
	v, err := strconv.ParseUint(strings.TrimPrefix(n.Value, "0o"), 8, 32)
	if n.Kind != yaml.ScalarNode || err != nil || v == 0 || v > 0o777 {
		return []Problem{at.Problem("%q are not permissions; write them in octal, such as \"0660\"", n.Value)}
	}
	*m = FileMode(v)
	return nil
}
