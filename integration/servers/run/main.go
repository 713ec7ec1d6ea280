// Command run starts private real servers for use by hand and ends them with Ctrl-C.
//
//	go run ./servers/run mariadb:replicas=1 redis-cluster:nodes=6 kafka:nodes=3,sasl
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/sidewire/sidewire/integration/servers"
)

const usage = `usage: run SERVER[:OPTION,...]...

servers: mariadb mysql postgres redis redis-cluster redis-sentinel kafka
options: replicas=N (mariadb, mysql, redis), nodes=N (redis-cluster, kafka), password=X (redis...), line=3.9 (kafka), sasl (kafka),
         at=PORT (kafka), account=USER:PASSWORD (kafka with sasl), NAME.OF.PROPERTY=VALUE (kafka)
`

func main() {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, wanted []string) error {
	fleet, err := servers.New()
	if err != nil {
		return err
	}
	defer fleet.Close()
	for _, arg := range wanted {
		name, list, _ := strings.Cut(arg, ":")
		opts, err := options(list)
		if err != nil {
			return err
		}
		text, err := start(ctx, fleet, name, opts)
		if err != nil {
			return err
		}
		fmt.Println(text)
	}
	fmt.Println("Ctrl-C ends them all.")
	<-ctx.Done()
	return nil
}

func options(list string) ([]servers.Option, error) {
	var opts []servers.Option
	for _, text := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		key, value, _ := strings.Cut(text, "=")
		switch key {
		case "replicas", "nodes", "at":
			n, err := strconv.Atoi(value)
			if err != nil {
				return nil, fmt.Errorf("option %s: %w", text, err)
			}
			of := map[string]func(int) servers.Option{"replicas": servers.Replicas, "nodes": servers.Nodes, "at": servers.At}
			opts = append(opts, of[key](n))
		case "password":
			opts = append(opts, servers.Password(value))
		case "line":
			opts = append(opts, servers.Line(value))
		case "sasl":
			opts = append(opts, servers.SASL())
		case "account":
			user, password, _ := strings.Cut(value, ":")
			opts = append(opts, servers.Account(user, password))
		default:
			if strings.Contains(key, ".") {
				opts = append(opts, servers.Args(text))
				continue
			}
			return nil, fmt.Errorf("unknown option %q\n%s", text, usage)
		}
	}
	return opts, nil
}

func start(ctx context.Context, fleet *servers.Fleet, name string, opts []servers.Option) (string, error) {
	switch name {
	case "mariadb", "mysql":
		begin := fleet.MariaDB
		if name == "mysql" {
			begin = fleet.MySQL
		}
		s, err := begin(ctx, opts...)
		if err != nil {
			return "", err
		}
		text := mysqlText("primary", s)
		for _, r := range s.Replicas {
			text += "\n" + mysqlText("replica", r)
		}
		return text, nil
	case "postgres":
		s, err := fleet.Postgres(ctx, opts...)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s (pid %d): psql %s", s.Name, s.PID(), s.DSN("postgres")), nil
	case "redis":
		s, err := fleet.Redis(ctx, opts...)
		if err != nil {
			return "", err
		}
		return redisText(append([]*servers.RedisServer{s}, s.Replicas...)), nil
	case "redis-cluster", "redis-sentinel":
		begin := fleet.RedisCluster
		if name == "redis-sentinel" {
			begin = fleet.RedisSentinel
		}
		g, err := begin(ctx, opts...)
		if err != nil {
			return "", err
		}
		return redisText(append(g.Nodes, g.Sentinels...)), nil
	case "kafka":
		c, err := fleet.Kafka(ctx, opts...)
		if err != nil {
			return "", err
		}
		text := "kcat -L -b " + strings.Join(c.Addrs(), ",")
		for _, b := range c.Brokers {
			text += fmt.Sprintf("\n%s (pid %d, broker %d): %s %s", b.Name, b.PID(), b.ID, b.Addr, b.SASLAddr)
		}
		return text, nil
	}
	return "", fmt.Errorf("unknown server %q\n%s", name, usage)
}

func mysqlText(role string, s *servers.MySQLServer) string {
	host, port, _ := strings.Cut(s.Addr, ":")
	return fmt.Sprintf("%s %s (pid %d): mariadb -h %s -P %s -u %s -p%s   (administrator: -u %s -p%s; socket %s)",
		s.Name, role, s.PID(), host, port, s.User, s.Password, s.Admin, s.AdminKey, s.Socket)
}

func redisText(list []*servers.RedisServer) string {
	var lines []string
	for _, s := range list {
		_, port, _ := strings.Cut(s.Addr, ":")
		lines = append(lines, fmt.Sprintf("%s (pid %d): redis-cli -p %s %s", s.Name, s.PID(), port, s.Password))
	}
	return strings.Join(lines, "\n")
}
