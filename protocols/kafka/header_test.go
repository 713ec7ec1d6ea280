package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Every key at every version, as kmsg frames it, is framed the same here.
func TestRequestHeaderOfEveryVersion(t *testing.T) {
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("console"))
	for key := range int16(Keys) {
		api, _ := Lookup(key)
		for v := range api.Max + 1 {
			req := kmsg.RequestForKey(key)
			req.SetVersion(v)
			frame := f.AppendRequest(nil, req, 77)
			binary.BigEndian.PutUint32(frame, uint32(len(frame)-4)) // kmsg leaves the length of key 7 v0 at zero
			var h RequestHeader
			for cut := range frame {
				if err := ParseRequestHeader(frame[:cut], &h); err == nil && cut < h.Len {
					t.Fatalf("%s v%d: header of %d bytes read from %d", api.Name, v, h.Len, cut)
				}
			}
			if err := ParseRequestHeader(frame, &h); err != nil {
				t.Fatalf("%s v%d: %v", api.Name, v, err)
			}
			client := string(h.ClientID)
			if key == 7 && v == 0 {
				client = "console"
			}
			if h.Key != key || h.Version != v || h.CorrelationID != 77 || client != "console" || int(h.Size) != len(frame)-4 {
				t.Errorf("%s v%d: %+v", api.Name, v, h)
			}
			if body := req.AppendTo(nil); (key != 7 || v != 0) && !bytes.Equal(frame[h.Len:], body) {
				t.Errorf("%s v%d: body begins at the wrong byte", api.Name, v)
			}
		}
	}
}

// Trap 3: acks 0 must be seen behind long client ids, header tags and transactional ids, null or not.
func TestAcksBehindEveryHeader(t *testing.T) {
	long := strings.Repeat("c", 700)
	id := strings.Repeat("t", 300)
	for version := range int16(14) {
		for _, client := range []string{"", "app", long} {
			for _, txn := range []*string{nil, kmsg.StringPtr(""), kmsg.StringPtr(id)} {
				for _, acks := range []int16{-1, 0, 1} {
					req := kmsg.NewPtrProduceRequest()
					req.Version, req.Acks, req.TransactionID = version, acks, txn
					frame := requestFrame(req, client, []byte{2, 0, 3, 'a', 'b', 'c', 5, 0})
					var h RequestHeader
					if err := ParseRequestHeader(frame, &h); err != nil {
						t.Fatal(err)
					}
					var head ProduceHead
					if err := ParseProduceHead(frame[h.Len:], version, &head); err != nil {
						t.Fatal(err)
					}
					if head.Acks != acks {
						t.Errorf("v%d client %d bytes: acks %d, want %d", version, len(client), head.Acks, acks)
					}
					if version >= 3 && (txn == nil) != (head.TransactionalID == nil) {
						t.Errorf("v%d: transactional id %v, want %v", version, head.TransactionalID, txn)
					}
				}
			}
		}
	}
}

// requestFrame builds a frame with tagged fields in its header, which no client sends today and every one may tomorrow.
func requestFrame(req kmsg.Request, client string, tags []byte) []byte {
	b := []byte{0, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(req.Key()))
	b = binary.BigEndian.AppendUint16(b, uint16(req.GetVersion()))
	b = binary.BigEndian.AppendUint32(b, 9)
	b = binary.BigEndian.AppendUint16(b, uint16(len(client)))
	b = append(b, client...)
	if req.IsFlexible() {
		b = append(b, tags...)
	}
	b = req.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func TestBadHeaders(t *testing.T) {
	var h RequestHeader
	for name, b := range map[string][]byte{
		"negative length":          {0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0, 0, 0, 0, 1},
		"length below a header":    {0, 0, 0, 7, 0, 3, 0, 0, 0, 0, 0, 1},
		"short and nothing after":  {0, 0, 0, 2, 0, 3},
		"client id past the frame": {0, 0, 0, 10, 0, 3, 0, 0, 0, 0, 0, 1, 0, 9, 'x'},
		"tags past the frame":      {0, 0, 0, 13, 0, 3, 0, 9, 0, 0, 0, 1, 0, 0, 1, 0, 200, 1},
	} {
		if err := ParseRequestHeader(b, &h); err == nil || errors.Is(err, ErrShort) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := ParseRequestHeader([]byte{0, 0, 0}, &h); !errors.Is(err, ErrShort) {
		t.Errorf("three bytes: %v", err)
	}
	if _, _, err := ParseResponseHeader([]byte{0, 0, 0, 3, 0, 0, 0, 1}, Fetch, 12); err == nil || errors.Is(err, ErrShort) {
		t.Errorf("short response: %v", err)
	}
	if _, _, err := ParseResponseHeader([]byte{0, 0, 0, 6, 0, 0, 0, 1, 1, 0}, Fetch, 12); err == nil || errors.Is(err, ErrShort) {
		t.Errorf("response tags past the frame: %v", err)
	}
}

// Trap 8: bytes of other protocols are named, because their length prefix alone only says "too large".
func TestForeignBytes(t *testing.T) {
	for in, want := range map[string]string{
		"\x16\x03\x01\x02\x00": "a TLS hello",
		"\x15\x03\x03\x00\x02": "a TLS alert",
		"GET / HTTP/1.1":       "an HTTP request",
		"POST /":               "an HTTP request",
		"HTTP/1.1 400":         "an HTTP response",
		"\x00\x00\x00\x10\x00\x12\x00\x03\x00\x00": "",
		"": "",
	} {
		if got := Foreign([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestRingKeepsOrder(t *testing.T) {
	r := NewRing(100)
	next, head := int32(0), int32(0)
	for round := range 60 {
		for r.Push(Inflight{CorrelationID: next}) {
			next++
		}
		if !r.Full() || r.Len() != 100 {
			t.Fatalf("full at %d", r.Len())
		}
		for range 1 + round%100 {
			e, ok := r.Head()
			if !ok || e.CorrelationID != head {
				t.Fatalf("head %d, want %d", e.CorrelationID, head)
			}
			r.Pop()
			head++
		}
	}
	for r.Len() > 0 {
		r.Pop()
	}
	if _, ok := r.Head(); ok {
		t.Fatal("an empty ring has a head")
	}
	r.Pop()
}

func FuzzRequestHeader(f *testing.F) {
	for _, req := range []kmsg.Request{kmsg.NewPtrApiVersionsRequest(), kmsg.NewPtrProduceRequest(), kmsg.NewPtrMetadataRequest()} {
		req.SetVersion(req.MaxVersion())
		f.Add(requestFrame(req, "fuzz", []byte{1, 1, 1, 'a'}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h RequestHeader
		if err := ParseRequestHeader(b, &h); err == nil {
			if h.Len > len(b) || h.Len > int(h.Size)+4 {
				t.Fatalf("header of %d bytes in %d", h.Len, len(b))
			}
			var p ProduceHead
			_ = ParseProduceHead(b[h.Len:], h.Version, &p)
		}
		if _, n, err := ParseResponseHeader(b, Fetch, 16); err == nil && n > len(b) {
			t.Fatalf("response header of %d bytes in %d", n, len(b))
		}
		Foreign(b)
	})
}
