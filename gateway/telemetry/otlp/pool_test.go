package otlp

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/sidewire/sidewire/gateway/telemetry"
)

// A pool goes out under the names, units and kinds of the conventions, and only while those in development are wanted.
func TestPoolHasConventionalNames(t *testing.T) {
	r := telemetry.NewRegistry()
	pool := telemetry.NewPool(r, "shop", func() telemetry.PoolReading {
		return telemetry.PoolReading{Idle: 1, Used: 2, Pending: 3, Max: 10, MaxIdle: 9, MinIdle: 1}
	})
	pool.Created(time.Second)
	pool.Waited(time.Second)
	pool.Used(time.Second)
	pool.TimedOut()
	shown := func() (out []string) {
		all, err := (&producer{registry: r, started: time.Now()}).Produce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all[0].Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[float64]:
				for _, p := range d.DataPoints {
					state, _ := p.Attributes.Value("db.client.connection.state")
					name, _ := p.Attributes.Value("db.client.connection.pool.name")
					out = append(out, fmt.Sprint(m.Name, m.Unit, " ", d.IsMonotonic, " ", name.AsString(), state.AsString(), " ", p.Value))
				}
			case metricdata.Histogram[float64]:
				out = append(out, fmt.Sprint(m.Name, m.Unit, " ", d.DataPoints[0].Sum))
			default:
				t.Errorf("%s is a %T", m.Name, m.Data)
			}
		}
		slices.Sort(out)
		return out
	}
	if got := shown(); len(got) > 0 {
		t.Errorf("shown although in development: %q", got)
	}
	r.ShowDevelopment(true)
	want := []string{
		"db.client.connection.count{connection} false shopidle 1", "db.client.connection.count{connection} false shopused 2",
		"db.client.connection.create_times 1", "db.client.connection.idle.max{connection} false shop 9", "db.client.connection.idle.min{connection} false shop 1",
		"db.client.connection.max{connection} false shop 10", "db.client.connection.pending_requests{request} false shop 3",
		"db.client.connection.timeouts{timeout} true shop 1", "db.client.connection.use_times 1", "db.client.connection.wait_times 1",
	}
	if got := shown(); !slices.Equal(got, want) {
		t.Errorf("shown %q\nwant %q", got, want)
	}
	var none *telemetry.Pool // of an upstream that nobody measures
	none.Created(1)
	none.Waited(1)
	none.Used(1)
	none.TimedOut()
}
