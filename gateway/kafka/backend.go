package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/protocols/kafka"
)

// maxControl bounds the answer to a request of sidewire's own: metadata of brokers and topics, never records.
const maxControl = 64 << 20

const clientID = "sidewire"

// control is a connection of sidewire's own to a broker. One goroutine uses it, one request at a time.
type control struct {
	conn     net.Conn
	address  string
	next     int32
	versions map[int16][2]int16 // what the broker speaks
	renew    time.Time          // when it is to be made anew, before the broker wants to see credentials again; zero: never
	buf      []byte
}

// dialControl connects, asks what the broker speaks and authenticates.
func dialControl(ctx context.Context, cl *cluster.Cluster, address string) (*control, error) {
	conn, err := cl.DialAddress(cluster.ForItself(ctx), address)
	if err != nil {
		return nil, err
	}
	c := &control{conn: conn, address: address}
	if err := c.begin(ctx, cl); err != nil {
		conn.Close()
		return nil, fmt.Errorf("opening control connection to %s: %w", address, err)
	}
	return c, nil
}

func (c *control) close() {
	if c != nil {
		c.conn.Close()
	}
}

func (c *control) begin(ctx context.Context, cl *cluster.Cluster) error {
	if err := c.apiVersions(ctx); err != nil {
		return err
	}
	life, err := authenticate(ctx, c.address, cl.Config().Block.(*ClusterBlock).SASL, c.exchange)
	c.renew = renewal(time.Now(), life)
	return err
}

// apiVersions asks with version 0, which every broker answers.
func (c *control) apiVersions(ctx context.Context) error {
	req := kmsg.NewPtrApiVersionsRequest()
	resp, err := c.exchange(ctx, req)
	if err != nil {
		return err
	}
	r := resp.(*kmsg.ApiVersionsResponse)
	if r.ErrorCode != 0 {
		return fmt.Errorf("asking for API versions: error code %d", r.ErrorCode)
	}
	c.versions = make(map[int16][2]int16, len(r.ApiKeys))
	for _, k := range r.ApiKeys {
		c.versions[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
	}
	return nil
}

// ask sends a request at the highest version both sides know.
func (c *control) ask(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	v, ok := c.versions[req.Key()]
	if !ok || v[0] > req.MaxVersion() {
		return nil, fmt.Errorf("broker %s does not speak %s", c.address, kafka.Name(req.Key()))
	}
	req.SetVersion(min(v[1], req.MaxVersion()))
	return c.exchange(ctx, req)
}

func (c *control) exchange(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(30 * time.Second)
	}
	c.conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { interrupt(c.conn) })
	defer stop()
	c.next++
	c.buf = kafka.AppendRequest(c.buf[:0], c.next, clientID, req)
	if _, err := c.conn.Write(c.buf); err != nil {
		return nil, fmt.Errorf("asking %s: %w", kafka.Name(req.Key()), err)
	}
	frame, err := readFrame(c.conn, c.buf[:0], maxControl)
	if err != nil {
		return nil, fmt.Errorf("reading answer to %s: %w", kafka.Name(req.Key()), err)
	}
	c.buf = frame
	correlation, n, err := kafka.ParseResponseHeader(frame, req.Key(), req.GetVersion())
	if err != nil {
		return nil, err
	}
	if correlation != c.next {
		return nil, fmt.Errorf("answer to request %d where %d was asked", correlation, c.next)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	return resp, kafka.DecodeResponse(resp, frame[n:])
}

// readFrame reads one whole frame, prefix included, into dst. Memory grows with what arrives, not with what a prefix says.
func readFrame(r io.Reader, dst []byte, limit int) ([]byte, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return dst, err
	}
	size := int(int32(binary.BigEndian.Uint32(prefix[:])))
	if what := kafka.Foreign(prefix[:]); what != "" {
		return dst, fmt.Errorf("%s instead of a Kafka frame", what)
	}
	if size < 4 || size > limit {
		return dst, fmt.Errorf("a frame of %d bytes", size)
	}
	dst = append(dst, prefix[:]...)
	for rest := size; rest > 0; {
		k := min(rest, 64<<10)
		at := len(dst)
		dst = append(dst, make([]byte, k)...)
		if _, err := io.ReadFull(r, dst[at:]); err != nil {
			return dst[:at], err
		}
		rest -= k
	}
	return dst, nil
}
