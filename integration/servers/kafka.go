package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// KafkaCluster is a running Apache Kafka in KRaft mode, every node broker and controller.
type KafkaCluster struct {
	Brokers []*KafkaBroker
	// One account for SASL PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, with SASL().
	User, Password string

	line string
	lib  string // its jars

	// For brokers that are added.
	fleet  *Fleet
	o      options
	voters string
}

// KafkaBroker is one of its nodes.
type KafkaBroker struct {
	*Process
	ID       int
	Addr     string // plain listener, also used between brokers
	SASLAddr string // SASL_PLAINTEXT listener, with SASL()
	ViaAddr  string // listener to be reached by way of a proxy, with Via()
	Rack     string
}

// Addrs lists the plain listeners.
func (c *KafkaCluster) Addrs() []string {
	var list []string
	for _, b := range c.Brokers {
		list = append(list, b.Addr)
	}
	return list
}

// SASLAddrs lists the authenticating listeners.
func (c *KafkaCluster) SASLAddrs() []string {
	var list []string
	for _, b := range c.Brokers {
		list = append(list, b.SASLAddr)
	}
	return list
}

// Kill ends every broker.
func (c *KafkaCluster) Kill() error {
	var errs []error
	for _, b := range c.Brokers {
		errs = append(errs, b.Process.Kill())
	}
	return errors.Join(errs...)
}

// quick has the JVM compile once and lightly: a third of the time that a short life takes.
const quick = "-XX:TieredStopAtLevel=1"

// Java returns the command line of one of Kafka's own tools, "org.apache.kafka.tools.ProducerPerformance" for instance.
func (c *KafkaCluster) Java(class string, args ...string) ([]string, error) {
	java, err := find("java", "Java")
	if err != nil {
		return nil, err
	}
	return append([]string{java, "-Xmx256m", "-XX:+UseSerialGC", quick, "-cp", c.lib + "/*", class}, args...), nil
}

// Kafka starts Apache Kafka 4, or Line("3.9"), with one broker or Nodes(n), and SASL listeners when asked for. Topics
// are not created by being named; internal topics are small.
func Kafka(t TB, opts ...Option) *KafkaCluster {
	t.Helper()
	return obtain(t, "kafka", opts, (*Fleet).Kafka)
}

// Kafka is the package's Kafka for programs that are no tests.
func (f *Fleet) Kafka(ctx context.Context, opts ...Option) (*KafkaCluster, error) {
	o := collect(opts)
	if o.nodes == 0 {
		o.nodes = 1
	}
	c := &KafkaCluster{User: "app", Password: "app-secret", line: "4"}
	switch o.line {
	case "", "4":
	case "3.9", "3":
		c.line = "3"
	default:
		return nil, fmt.Errorf("no Kafka of line %q here, only 4 and 3.9", o.line)
	}
	if (o.via != "" || o.first != 0) && o.nodes != 1 {
		return nil, errors.New("one address for several brokers")
	}
	o.accounts = append([]account{{c.User, c.Password}}, o.accounts...)
	c.lib = filepath.Join(cacheDir(), "kafka-"+c.line, "lib")
	if _, err := os.Stat(c.lib); err != nil {
		return nil, &Missing{What: "Apache Kafka " + c.line}
	}
	c.fleet, c.o = f, o
	if err := c.lay(f, o); err != nil {
		return nil, err
	}
	// The nodes wait for each other, so they are started at once.
	failed := make([]error, len(c.Brokers))
	var all sync.WaitGroup
	for i, b := range c.Brokers {
		all.Go(func() { failed[i] = c.launch(ctx, f, b, o) })
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		c.Kill()
		return nil, err
	}
	return c, c.await(ctx)
}

// lay gives every broker its folder, ports and configuration.
func (c *KafkaCluster) lay(f *Fleet, o options) error {
	var voters []string
	controllers := make([]int, o.nodes)
	for i := range o.nodes {
		b, first, err := c.broker(f, i+1, o)
		if err != nil {
			return err
		}
		controllers[i] = first + 2
		voters = append(voters, fmt.Sprintf("%d@%s", b.ID, local(controllers[i])))
		c.Brokers = append(c.Brokers, b)
	}
	c.voters = strings.Join(voters, ",")
	for i, b := range c.Brokers {
		if err := b.configure(c.properties(b, controllers[i], c.voters, o)); err != nil {
			return err
		}
	}
	return nil
}

// broker gives one broker its folder and ports, of which it returns the first.
func (c *KafkaCluster) broker(f *Fleet, id int, o options) (*KafkaBroker, int, error) {
	dir, err := f.folder("kafka")
	if err != nil {
		return nil, 0, err
	}
	first := o.first
	if first == 0 {
		if first, err = f.PortRange(4); err != nil {
			return nil, 0, err
		}
	}
	b := &KafkaBroker{ID: id, Addr: local(first), Rack: fmt.Sprintf("r%d", id)}
	if o.sasl {
		b.SASLAddr = local(first + 1)
	}
	if o.via != "" {
		b.ViaAddr = local(first + 3)
	}
	b.Process = &Process{fleet: f, Name: filepath.Base(dir), Dir: dir, ready: b.ping}
	return b, first, nil
}

func (b *KafkaBroker) configure(text string) error {
	return os.WriteFile(filepath.Join(b.Dir, "server.properties"), []byte(text), 0o644)
}

// Controllers lists the addresses of the nodes that are controllers.
func (c *KafkaCluster) Controllers() []string {
	var list []string
	for _, v := range strings.Split(c.voters, ",") {
		_, address, _ := strings.Cut(v, "@")
		list = append(list, address)
	}
	return list
}

// Add starts one more broker, which is no controller.
func (c *KafkaCluster) Add(ctx context.Context) (*KafkaBroker, error) {
	b, first, err := c.broker(c.fleet, len(c.Brokers)+1, c.o)
	if err != nil {
		return nil, err
	}
	text := c.properties(b, first+2, c.voters, c.o)
	text = strings.Replace(text, "process.roles=broker,controller", "process.roles=broker", 1)
	text = strings.ReplaceAll(text, ",CONTROLLER://"+local(first+2), "")
	if err := b.configure(text); err != nil {
		return nil, err
	}
	if err := c.launch(ctx, c.fleet, b, c.o); err != nil {
		return nil, err
	}
	c.Brokers = append(c.Brokers, b)
	return b, nil
}

func (c *KafkaCluster) properties(b *KafkaBroker, controller int, voters string, o options) string {
	listeners := "PLAINTEXT://" + b.Addr
	if o.sasl {
		listeners += ",SASL_PLAINTEXT://" + b.SASLAddr
	}
	advertised := listeners
	if o.via != "" {
		listeners += ",VIA://" + b.ViaAddr
		advertised += ",VIA://" + o.via
	}
	if o.first != 0 {
		advertised = strings.ReplaceAll(advertised, "127.0.0.1", "localhost")
	}
	copies := min(o.nodes, 3)
	lines := []string{
		"process.roles=broker,controller",
		fmt.Sprintf("node.id=%d", b.ID),
		"broker.rack=" + b.Rack,
		"controller.quorum.voters=" + voters,
		"listeners=" + listeners + ",CONTROLLER://" + local(controller),
		"advertised.listeners=" + advertised,
		"inter.broker.listener.name=PLAINTEXT",
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,VIA:PLAINTEXT",
		"log.dirs=" + filepath.Join(b.Dir, "data"),
		"replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector",
		"auto.create.topics.enable=false",
		"num.partitions=3",
		fmt.Sprintf("default.replication.factor=%d", copies),
		fmt.Sprintf("offsets.topic.replication.factor=%d", copies),
		fmt.Sprintf("transaction.state.log.replication.factor=%d", copies),
		fmt.Sprintf("transaction.state.log.min.isr=%d", min(copies, 2)),
		"offsets.topic.num.partitions=4",
		"transaction.state.log.num.partitions=4",
		"group.initial.rebalance.delay.ms=0",
		"controller.quorum.election.timeout.ms=500",
		"controller.quorum.fetch.timeout.ms=1000",
		"num.network.threads=2", "num.io.threads=4", "background.threads=2",
	}
	if c.line == "4" {
		lines = append(lines,
			fmt.Sprintf("share.coordinator.state.topic.replication.factor=%d", copies),
			fmt.Sprintf("share.coordinator.state.topic.min.isr=%d", min(copies, 2)),
			"share.coordinator.state.topic.num.partitions=4")
	}
	if o.sasl {
		plain := "org.apache.kafka.common.security.plain.PlainLoginModule required"
		for _, a := range o.accounts {
			plain += fmt.Sprintf(` user_%s="%s"`, a.user, a.password)
		}
		scram := `org.apache.kafka.common.security.scram.ScramLoginModule required;`
		lines = append(lines,
			"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
			"listener.name.sasl_plaintext.plain.sasl.jaas.config="+plain+";",
			"listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config="+scram,
			"listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config="+scram)
	}
	return strings.Join(append(lines, o.argv...), "\n") + "\n"
}

// clusterID is the same for every cluster: they are told apart by their addresses.
const kafkaClusterID = "c2lkZXdpcmUtdGVzdHMtMQ"

func (c *KafkaCluster) launch(ctx context.Context, f *Fleet, b *KafkaBroker, o options) error {
	java, err := find("java", "Java")
	if err != nil {
		return err
	}
	conf := filepath.Join(b.Dir, "server.properties")
	jvm := []string{java, "-Xmx384m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-cp", c.lib + "/*"}
	if c.line == "4" {
		jvm = append(jvm, "-Dlog4j2.level=WARN")
	} else {
		jvm = append(jvm, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
	}
	short := append(jvm[:len(jvm):len(jvm)], quick)
	if !o.peak {
		jvm = short[:len(short):len(short)]
	}
	format := append(short, "kafka.tools.StorageTool", "format", "-t", kafkaClusterID, "-c", conf)
	if o.sasl {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			for _, a := range o.accounts {
				format = append(format, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, a.user, a.password))
			}
		}
	}
	if err := f.tool(ctx, b.Dir, 0, 0, format...); err != nil {
		return err
	}
	b.argv = append(jvm, "kafka.Kafka", conf)
	return b.Process.launch(ctx)
}

// ping asks this broker, and none it names, whether it is in the cluster it knows.
func (b *KafkaBroker) ping(ctx context.Context) error {
	known, err := b.brokers(ctx)
	if err == nil && !slices.Contains(known, b.ID) {
		err = fmt.Errorf("broker %d is not registered yet", b.ID)
	}
	return err
}

// brokers lists the ids this broker knows.
func (b *KafkaBroker) brokers(ctx context.Context) ([]int, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.RetryTimeout(0))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	meta, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil {
		return nil, err
	}
	var ids []int
	for _, known := range meta.Brokers {
		ids = append(ids, int(known.NodeID))
	}
	return ids, nil
}

// await returns when every broker knows all of them.
func (c *KafkaCluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return Poll(ctx, func(ctx context.Context) error {
		for _, b := range c.Brokers {
			known, err := b.brokers(ctx)
			if err != nil {
				return err
			}
			if len(known) != len(c.Brokers) {
				return fmt.Errorf("%s knows %d of %d brokers", b.Name, len(known), len(c.Brokers))
			}
		}
		return nil
	})
}
