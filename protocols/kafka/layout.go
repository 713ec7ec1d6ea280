package kafka

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

//go:generate go run layout_gen.go

// A layout is written as its fields in order: a number is so many bytes, s a string and n a nullable one, y bytes and z
// nullable ones, [...] a list of what is inside, ?(...) a struct that may be missing, @3-7(...) a field of these
// versions alone, T the tagged fields, T{0:...} with the layout of known ones.

// layoutNode is one field of a parsed layout.
type layoutNode struct {
	kind     byte // 'f' fixed, 's', 'n', 'y', 'z', '[', '?', '@', 'T'
	size     int  // of 'f'
	from, to int16
	inside   []layoutNode
	tags     map[uint32][]layoutNode
}

var parsed [len(messageLayouts)][2]struct {
	once  sync.Once
	nodes []layoutNode
}

func layoutOf(key int16, response bool) []layoutNode {
	side := 0
	if response {
		side = 1
	}
	p := &parsed[key][side]
	p.once.Do(func() {
		s := messageLayouts[key][side]
		p.nodes = parseLayout(&s)
	})
	return p.nodes
}

// parseLayout reads fields up to the bracket that closes them. The table is generated, so what it cannot read is a bug.
func parseLayout(s *string) []layoutNode {
	var nodes []layoutNode
	for {
		*s = strings.TrimLeft(*s, " ")
		if *s == "" {
			return nodes
		}
		c := (*s)[0]
		switch c {
		case ']', ')', '}':
			return nodes
		case 's', 'n', 'y', 'z':
			*s = (*s)[1:]
			nodes = append(nodes, layoutNode{kind: c})
		case '[':
			nodes = append(nodes, layoutNode{kind: c, inside: enclosed(s, 1)})
		case '?':
			nodes = append(nodes, layoutNode{kind: c, inside: enclosed(s, 2)})
		case '@':
			nodes = append(nodes, parseVersions(s))
		case 'T':
			nodes = append(nodes, parseTags(s))
		default:
			n := len(*s) - len(strings.TrimLeft(*s, "0123456789"))
			size, err := strconv.Atoi((*s)[:n])
			if err != nil {
				panic("layout: " + *s)
			}
			*s = (*s)[n:]
			nodes = append(nodes, layoutNode{kind: 'f', size: size})
		}
	}
}

// enclosed parses what stands between an opening of n characters and its closing one.
func enclosed(s *string, n int) []layoutNode {
	*s = (*s)[n:]
	inside := parseLayout(s)
	*s = (*s)[1:]
	return inside
}

func parseVersions(s *string) layoutNode {
	head, _, _ := strings.Cut((*s)[1:], "(")
	from, to, _ := strings.Cut(head, "-")
	node := layoutNode{kind: '@', to: 1<<15 - 1}
	first, err := strconv.Atoi(from)
	if err != nil {
		panic("layout: " + *s)
	}
	node.from = int16(first)
	if last, err := strconv.Atoi(to); err == nil {
		node.to = int16(last)
	}
	node.inside = enclosed(s, len(head)+2)
	return node
}

func parseTags(s *string) layoutNode {
	node := layoutNode{kind: 'T'}
	*s = (*s)[1:]
	for strings.HasPrefix(*s, "{") {
		number, _, _ := strings.Cut((*s)[1:], ":")
		tag, err := strconv.Atoi(number)
		if err != nil {
			panic("layout: " + *s)
		}
		if node.tags == nil {
			node.tags = map[uint32][]layoutNode{}
		}
		node.tags[uint32(tag)] = enclosed(s, len(number)+2)
	}
	return node
}

// maxTags bounds the tagged fields of one struct. Kafka's messages define at most four.
const maxTags = 256

// checker walks a body by its layout and adds up what decoding it would take.
type checker struct {
	Reader
	version  int16
	flexible bool
	memory   int64
}

// Limits of the memory that a decoded message may take. What a message costs follows from the bytes that are there: an
// element of a list may be one byte long and cost a hundred when decoded.
const (
	maxDecodedRequest  = 64 << 20
	maxDecodedResponse = 1 << 30
)

// check walks the body of a message before kmsg sees it. kmsg takes memory for as many elements as a list claims to have,
// and counts down the tagged fields a message claims one by one, also past its end.
func check(key, version int16, response bool, body []byte) error {
	if !Known(key, version) {
		return fmt.Errorf("no layout for key %d v%d", key, version)
	}
	c := checker{Reader: Reader{Src: body}, version: version, flexible: IsFlexible(key, version)}
	c.walk(layoutOf(key, response))
	limit := int64(maxDecodedRequest)
	if response {
		limit = maxDecodedResponse
	}
	if c.Err == nil && c.memory > limit {
		return fmt.Errorf("%d bytes that would take %d when decoded", len(body), c.memory)
	}
	return c.Err
}

func (c *checker) walk(nodes []layoutNode) {
	for i := range nodes {
		if c.Err != nil {
			return
		}
		n := &nodes[i]
		switch n.kind {
		case 'f':
			c.Skip(n.size)
			c.memory += int64(n.size)
		case 's', 'n', 'y', 'z':
			c.bytes(n.kind)
		case '[':
			c.list(n.inside)
		case '?':
			if c.Int8() != -1 {
				c.walk(n.inside)
			}
		case '@':
			if c.version >= n.from && c.version <= n.to {
				c.walk(n.inside)
			}
		case 'T':
			if c.flexible {
				c.tagged(n.tags)
			}
		}
	}
}

// bytes passes over a string or a byte string. Null where it is not allowed is malformed, except for classic bytes, which
// kmsg takes for empty ones.
func (c *checker) bytes(kind byte) {
	c.memory += 24
	n := int64(0)
	switch {
	case c.flexible:
		n = int64(c.Uvarint()) - 1
	case kind == 's' || kind == 'n':
		n = int64(c.Int16())
	default:
		n = int64(c.Int32())
	}
	if c.Err != nil || n < 0 && (kind == 'n' || kind == 'z') || n == -1 && kind == 'y' && !c.flexible {
		return
	}
	if kind == 's' || kind == 'n' { // the others lie in the body
		c.memory += n
	}
	c.Skip(int(n))
}

func (c *checker) list(element []layoutNode) {
	c.memory += 24
	n := int64(0)
	if c.flexible {
		n = int64(c.Uvarint()) - 1
	} else {
		n = int64(c.Int32())
	}
	if left := int64(len(c.Src) - c.Off); c.Err == nil && n > left {
		c.Err = fmt.Errorf("a list of %d elements in %d bytes", n, left)
	}
	if len(element) == 1 && element[0].kind == 'f' && n > 0 {
		c.Skip(int(n) * element[0].size)
		c.memory += n * int64(element[0].size)
		return
	}
	for ; n > 0 && c.Err == nil; n-- {
		c.walk(element)
	}
}

func (c *checker) tagged(known map[uint32][]layoutNode) {
	c.memory += 8
	count := c.Uvarint()
	if c.Err == nil && count > maxTags {
		c.Err = fmt.Errorf("%d tagged fields", count)
	}
	for ; count > 0 && c.Err == nil; count-- {
		tag := c.Uvarint()
		payload := c.take(int(c.Uvarint()))
		inside, ok := known[tag]
		c.memory += 64 // kept in a map
		if c.Err != nil || !ok {
			continue
		}
		field := checker{Reader: Reader{Src: payload}, version: c.version, flexible: c.flexible}
		field.walk(inside)
		c.memory += field.memory
		c.Err = field.Err
	}
}

// DecodeRequest decodes a request's body into req, whose version is set; the result may alias the body.
func DecodeRequest(req kmsg.Request, body []byte) error {
	return decode(req.Key(), req.GetVersion(), false, body, req.ReadFrom)
}

// DecodeResponse decodes a response's body into resp, whose version is set; the result may alias the body.
func DecodeResponse(resp kmsg.Response, body []byte) error {
	return decode(resp.Key(), resp.GetVersion(), true, body, resp.ReadFrom)
}

func decode(key, version int16, response bool, body []byte, read func([]byte) error) error {
	err := check(key, version, response, body)
	if err == nil {
		err = read(body)
	}
	if err != nil {
		kind := "request"
		if response {
			kind = "response"
		}
		return fmt.Errorf("decoding %s v%d %s: %w", Name(key), version, kind, err)
	}
	return nil
}
