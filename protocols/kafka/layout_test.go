package kafka

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// message is what kmsg's requests and responses have in common.
type message interface {
	Key() int16
	SetVersion(int16)
	GetVersion() int16
	AppendTo([]byte) []byte
	ReadFrom([]byte) error
}

func newMessage(key, version int16, response bool) message {
	var m message = kmsg.RequestForKey(key)
	if response {
		m = kmsg.ResponseForKey(key)
	}
	m.SetVersion(version)
	return m
}

func decodeMessage(m message, response bool, body []byte) error {
	return decode(m.Key(), m.GetVersion(), response, body, m.ReadFrom)
}

// everyMessage calls f with each message of each version that sidewire knows, filled and empty.
func everyMessage(f func(name string, m message, response bool, body []byte)) {
	for key := range int16(Keys) {
		api, _ := Lookup(key)
		for v := range api.Max + 1 {
			for _, response := range []bool{false, true} {
				empty, full := newMessage(key, v, response), newMessage(key, v, response)
				fill(reflect.ValueOf(full).Elem(), "name")
				full.SetVersion(v)
				for kind, m := range map[string]message{"empty": empty, "full": full} {
					name := api.Name + " request"
					if response {
						name = api.Name + " response"
					}
					f(name+" "+kind, m, response, m.AppendTo(nil))
				}
			}
		}
	}
}

// The layouts are read off kmsg's source, so what kmsg writes must be exactly what they say, and what kmsg cannot read
// they must refuse.
func TestLayoutsAgreeWithKmsg(t *testing.T) {
	messages := 0
	everyMessage(func(name string, m message, response bool, body []byte) {
		messages++
		v := m.GetVersion()
		c := checker{Reader: Reader{Src: body}, version: v, flexible: IsFlexible(m.Key(), v)}
		c.walk(layoutOf(m.Key(), response))
		if c.Err != nil || c.Off != len(body) {
			t.Errorf("%s v%d: %d of %d bytes, %v", name, v, c.Off, len(body), c.Err)
		}
		for n := range len(body) {
			cut := body[:n]
			err, read := check(m.Key(), v, response, cut), newMessage(m.Key(), v, response).ReadFrom(cut)
			if (err == nil) != (read == nil) {
				t.Errorf("%s v%d, %d of %d bytes: %v, kmsg %v", name, v, n, len(body), err, read)
			}
		}
	})
	if messages < 1000 {
		t.Errorf("%d messages", messages)
	}
}

// Wherever in a message a length or a count may stand, one that claims everything is put there. Decoding must take memory
// for what is there and end: a message that kmsg would count down takes it seconds, thousands of them the test's time.
func TestClaimsTakeNoMemory(t *testing.T) {
	claims := [][]byte{{0xff, 0xff, 0xff, 0xff, 0x0f}, {0xff, 0xff, 0xff, 0xff, 0x07}, {0x7f, 0xff, 0xff, 0xff}, {0x00, 0xff, 0xff, 0xff}}
	padding := make([]byte, 1<<10)
	var before, after runtime.MemStats
	everyMessage(func(name string, m message, response bool, body []byte) {
		if m.GetVersion() != m.(interface{ MaxVersion() int16 }).MaxVersion() && m.GetVersion() != 0 {
			return
		}
		runtime.ReadMemStats(&before)
		tries := uint64(0)
		for at := range len(body) {
			for _, claim := range claims {
				bad := append(append(append([]byte(nil), body[:at]...), claim...), padding...)
				_ = decodeMessage(newMessage(m.Key(), m.GetVersion(), response), response, bad)
				tries++
			}
		}
		runtime.ReadMemStats(&after)
		if took := (after.TotalAlloc - before.TotalAlloc) / max(tries, 1); took > 256<<10 {
			t.Errorf("%s v%d: %d bytes taken for a message of %d", name, m.GetVersion(), took, len(body)+len(padding))
		}
	})
}

func TestCheckRefuses(t *testing.T) {
	topics := func(n int, element ...byte) []byte { // Metadata v12
		return append(appendUvarint(nil, uint32(n+1)), []byte(strings.Repeat(string(element), n))...)
	}
	for name, c := range map[string]struct {
		key, version int16
		body         []byte
		want         string
	}{
		"more elements than bytes":   {Metadata, 12, []byte{0xff, 0xff, 0xff, 0x7f, 0}, "a list of 268435454 elements in 1 bytes"},
		"classic list":               {Metadata, 8, []byte{0x7f, 0xff, 0xff, 0xff, 0}, "a list of 2147483647 elements in 1 bytes"},
		"tagged fields without end":  {Metadata, 12, []byte{1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}, "4294967295 tagged fields"},
		"tagged fields of a topic":   {Metadata, 12, append([]byte{2}, append(make([]byte, 17), 0xff, 0xff, 0xff, 0xff, 0x0f)...), "4294967295 tagged fields"},
		"a field longer than itself": {Metadata, 12, []byte{1, 0, 0, 1, 9, 0xff, 0xff, 0xff, 0x7f}, "input ends early"},
		"small bytes, big memory":    {FindCoordinator, 4, append([]byte{0}, append(topics(4<<20, 1), 0)...), "when decoded"},
		"unknown version":            {Metadata, 99, nil, "no layout"},
	} {
		err := check(c.key, c.version, false, c.body)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// kmsg reads nothing that was not checked: its decoders are called in one place.
func TestEveryDecodedBodyIsChecked(t *testing.T) {
	for _, pattern := range []string{"*.go", "../../gateway/kafka/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) < 5 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || file == "layout.go" || file == "layout_gen.go" {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "ReadFrom(") {
				t.Errorf("%s reads a message past DecodeRequest and DecodeResponse", file)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	everyMessage(func(name string, m message, response bool, body []byte) {
		if m.GetVersion() == m.(interface{ MaxVersion() int16 }).MaxVersion() {
			f.Add(uint8(m.Key()), uint8(m.GetVersion()), response, body)
		}
	})
	f.Add(uint8(Metadata), uint8(12), false, []byte{1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, key, version uint8, response bool, body []byte) {
		k, v := int16(key), int16(version)
		if !Known(k, v) {
			return
		}
		if check(k, v, response, body) != nil {
			return
		}
		m := newMessage(k, v, response)
		if err := m.ReadFrom(body); err != nil {
			t.Fatalf("%s v%d: checked, and kmsg says %v", Name(k), v, err)
		}
		again := newMessage(k, v, response)
		if err := decodeMessage(again, response, m.AppendTo(nil)); err != nil {
			t.Fatalf("%s v%d: what was decoded and encoded: %v", Name(k), v, err)
		}
	})
}
