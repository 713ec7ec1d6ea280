package hash

import (
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
)

// testdata/functions.txt was printed by twemproxy's own functions, compiled for x86-64: name, key in hex, hash.
func TestFunctionsAgreeWithTwemproxy(t *testing.T) {
	text, err := os.ReadFile("testdata/functions.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		f := strings.Fields(line)
		key, err := hex.DecodeString(f[1])
		if err != nil {
			t.Fatal(err)
		}
		want, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		fn, err := Lookup(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := fn(key); got != uint32(want) {
			t.Errorf("%s(%x) = %d, want %d", f[0], key, got, want)
		}
		seen[f[0]]++
	}
	for _, name := range Names() {
		if seen[name] < 20 {
			t.Errorf("%s has %d vectors", name, seen[name])
		}
	}
}

func TestLookupNamesWhatThereIs(t *testing.T) {
	_, err := Lookup("sha1")
	if err == nil || !strings.Contains(err.Error(), "fnv1a_64") {
		t.Fatalf("err = %v", err)
	}
}

func TestSlot(t *testing.T) {
	for key, want := range map[string]uint16{
		"123456789": 0x31c3, // the checksum's published check value
		"foo":       12182, "bar": 5061, "": 0,
		"{user1000}.following": Slot1("user1000"), "{user1000}.followers": Slot1("user1000"),
		"foo{}{bar}": Slot1("foo{}{bar}"), "foo{{bar}}zap": Slot1("{bar"), "foo{bar}{zap}": Slot1("bar"), "a}b{c": Slot1("a}b{c"),
	} {
		if got := Slot([]byte(key)); got != want {
			t.Errorf("Slot(%q) = %d, want %d", key, got, want)
		}
	}
}

// Slot1 is the slot of a key without a tag.
func Slot1(s string) uint16 { return CRC16([]byte(s)) % Slots }

func TestParseTag(t *testing.T) {
	if _, err := ParseTag("{"); err == nil {
		t.Error("one character was taken for a tag")
	}
	tag, err := ParseTag("$$")
	if err != nil || string(tag.Of([]byte("a$b$c"))) != "b" {
		t.Errorf("tag %v, err %v", tag, err)
	}
}

func FuzzTag(f *testing.F) {
	f.Add([]byte("a{b}c"))
	f.Fuzz(func(t *testing.T, key []byte) {
		if p := (Tag{'{', '}'}).Of(key); len(key) > 0 && len(p) == 0 {
			t.Fatalf("nothing of %q is hashed", key)
		}
	})
}
