package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
	"github.com/sidewire/sidewire/protocols/redis"
)

const valueSize = 64

// poolSuite is Redis over three servers, among which twemproxy and sidewire place keys alike. What goes directly, or through HAProxy, which
// cannot place keys, goes to the first of them, which has all.
func poolSuite(ctx context.Context, fleet *servers.Fleet, p plan, r *report) error {
	loads := []load{
		{title: "Redis GET over 3 servers, 50 clients", budgets: cpuOver(twemproxy, 0.8), run: redisGet(50, 1)},
		{title: "Redis GET over 3 servers, 50 clients, pipeline of 16", budgets: cpuOver(twemproxy, 0.35), run: redisGet(50, 16)},
		{title: "Redis GET over 3 servers, 1 client", budgets: cpuOver(twemproxy, 0.9), run: redisGet(1, 1)},
		{title: "Redis GET over 3 servers, 500 clients", budgets: cpuOver(twemproxy, 0.9), run: redisGet(500, 1)},
		// At most 1.3 times the time is at least 0.77 of the throughput. Direct is linear, so that what keeps up with it at 10,000 keys is.
		{title: "Redis MGET of 100 keys over 3 servers", budgets: []budget{{peer: direct, limit: 0.77, least: true}}, run: redisMGet(100)},
		{title: "Redis MGET of 10,000 keys over 3 servers", budgets: []budget{{peer: direct, limit: 0.77, least: true}}, run: redisMGet(10000)},
		{title: "Redis GET over 3 servers, half load", budgets: []budget{{peer: direct, limit: 0.25, p99: true}}, run: redisHalf(50)},
	}
	for i := range loads {
		loads[i].unit = "command"
	}
	if !wanted(p, loads) {
		return nil
	}
	var nodes []*servers.RedisServer
	for range 3 {
		n, err := fleet.Redis(ctx)
		if err != nil {
			return err
		}
		defer n.Kill()
		nodes = append(nodes, n)
	}
	contenders, err := redisPeers(ctx, fleet, r, "hashing: ketama", nodes...)
	defer func() { stop(contenders) }()
	if err != nil {
		return err
	}
	for _, c := range contenders {
		if c.name != twemproxy && c.name != direct {
			continue
		}
		if err := fillRedis(ctx, c.addr); err != nil {
			return fmt.Errorf("filling the servers: %w", err)
		}
	}
	return measureAll(ctx, p, r, loads, contenders)
}

// benchKey names keys as redis-benchmark does.
func benchKey(n int) string { return fmt.Sprintf("key:%012d", n) }

func fillRedis(ctx context.Context, addr string) error {
	c, err := dialRedis(ctx, addr)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	value := strings.Repeat("v", valueSize)
	for n := range keys {
		reply, err := c.ask(redis.AppendCommand(nil, "SET", benchKey(n), value))
		if err != nil {
			return err
		}
		if string(reply) != "+OK\r\n" {
			return fmt.Errorf("SET was answered %q", reply)
		}
	}
	return nil
}

// asker is a connection that asks one thing at a time.
type asker struct {
	conn net.Conn
	in   []byte
}

func dialRedis(ctx context.Context, addr string) (*asker, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	return &asker{conn: conn, in: make([]byte, 0, 1<<20)}, nil
}

// ask returns the reply, which is valid until the next call.
func (c *asker) ask(request []byte) ([]byte, error) {
	if _, err := c.conn.Write(request); err != nil {
		return nil, err
	}
	var f redis.Framer
	for c.in = c.in[:0]; ; {
		n, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
		if err != nil {
			return nil, err
		}
		c.in = c.in[:len(c.in)+n]
		if n, err = f.Next(c.in); err != nil || n > 0 {
			return c.in[:n], err
		}
		if len(c.in) == cap(c.in) {
			c.in = append(make([]byte, 0, 2*cap(c.in)), c.in...)
		}
	}
}

// redisMGet asks for so many keys at a time, on one connection; every key is there.
func redisMGet(n int) func(context.Context, string, time.Duration) (outcome, error) {
	want := len(fmt.Sprintf("*%d\r\n", n)) + n*(len("$64\r\n\r\n")+valueSize)
	return func(ctx context.Context, addr string, d time.Duration) (outcome, error) {
		c, err := dialRedis(ctx, addr)
		if err != nil {
			return outcome{}, err
		}
		defer c.conn.Close()
		var took []time.Duration
		var request []byte
		start := time.Now()
		for time.Since(start) < d {
			request = redis.AppendHeader(request[:0], redis.TypeArray, 1+n)
			request = redis.AppendBulk(request, "MGET")
			for range n {
				request = redis.AppendBulk(request, benchKey(rand.IntN(keys)))
			}
			before := time.Now()
			reply, err := c.ask(request)
			if err != nil {
				return outcome{}, err
			}
			if len(reply) != want {
				return outcome{}, fmt.Errorf("MGET of %d keys was answered %.100q", n, reply)
			}
			took = append(took, time.Since(before))
		}
		o := outcome{ops: len(took)}
		for _, t := range took { // what the client needs to make up its mind is not the way's
			o.elapsed += t
		}
		o.p50, o.p99 = percentiles(took)
		return o, nil
	}
}

// redisHalf asks half as often as it could directly, through whatever way: a server that is not busy is the usual one. Time counts from when
// a command is sent, for a client that waits for its answer before the next.
func redisHalf(clients int) func(context.Context, string, time.Duration) (outcome, error) {
	var every time.Duration // between one client's commands; 0: not known yet
	return func(ctx context.Context, addr string, d time.Duration) (outcome, error) {
		if every == 0 {
			most, err := redisPaced(ctx, addr, clients, 0, d)
			if err != nil {
				return most, err
			}
			every = 2 * time.Duration(clients) * most.elapsed / time.Duration(most.ops)
		}
		return redisPaced(ctx, addr, clients, every, d)
	}
}

func redisPaced(ctx context.Context, addr string, clients int, every, d time.Duration) (outcome, error) {
	took, failed := make([][]time.Duration, clients), make([]error, clients)
	start := time.Now()
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			c, err := dialRedis(ctx, addr)
			if err != nil {
				failed[i] = err
				return
			}
			defer c.conn.Close()
			next := start.Add(every * time.Duration(i) / time.Duration(clients))
			timer := time.NewTimer(0)
			<-timer.C
			for time.Since(start) < d {
				if wait := time.Until(next); wait > 0 {
					timer.Reset(wait)
					<-timer.C
				}
				next = next.Add(every)
				request := redis.AppendCommand(nil, "GET", benchKey(rand.IntN(keys)))
				before := time.Now()
				if _, failed[i] = c.ask(request); failed[i] != nil {
					return
				}
				took[i] = append(took[i], time.Since(before))
			}
		})
	}
	all.Wait()
	return gather(took, failed, time.Since(start))
}
