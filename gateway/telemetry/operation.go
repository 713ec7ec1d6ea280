package telemetry

import (
	"maps"
	"net"
	"sync"
	"sync/atomic"
)

// operationLimit bounds the series of one listener. What comes beyond is counted under otherValue.
const operationLimit = 512

// otherValue is what OpenTelemetry writes where a value is one too many, or unknown.
const otherValue = "_OTHER"

// operation is what the series of db.client.operation.duration differ in.
type operation struct{ system, namespace, operation, code, endpoint string }

// measured are the instruments of one operation.
type measured struct {
	duration *Histogram
	rows     *Histogram
}

// operations resolves the series of one listener's statements. Reading goes without a lock; the table is replaced when it grows,
// which it does a bounded number of times.
type operations struct {
	registry *Registry
	listener string
	table    atomic.Pointer[map[operation]*measured]
	mu       sync.Mutex // held while the table is replaced
}

// RowBounds are the buckets that OpenTelemetry prescribes for db.client.response.returned_rows.
var RowBounds = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000}

func (o *operations) observe(st *Statement) {
	key := operation{st.System, st.Namespace, st.Operation, st.Code, st.Endpoint}
	m := st.measured
	if m == nil || st.last != key {
		if m = (*o.table.Load())[key]; m == nil {
			m = o.resolve(key)
		}
		st.last, st.measured = key, m
	}
	m.duration.Observe(st.Duration)
	if st.Code == "" {
		m.rows.Record(st.Rows)
	}
}

// resolve makes the series of an operation that was not seen before.
func (o *operations) resolve(key operation) *measured {
	o.mu.Lock()
	defer o.mu.Unlock()
	table := *o.table.Load()
	if m := table[key]; m != nil {
		return m
	}
	if len(table) >= operationLimit {
		key = operation{system: key.system, namespace: otherValue, operation: key.operation, endpoint: otherValue}
		if m := table[key]; m != nil || len(table) >= 2*operationLimit {
			if m == nil {
				return o.make(operation{system: key.system, namespace: otherValue, operation: otherValue, endpoint: otherValue})
			}
			return m
		}
	}
	m := o.make(key)
	table = maps.Clone(table)
	table[key] = m
	o.table.Store(&table)
	return m
}

func (o *operations) make(key operation) *measured {
	host, port, err := net.SplitHostPort(key.endpoint)
	if err != nil {
		host, port = key.endpoint, ""
	}
	kind := ""
	if key.code != "" {
		kind = key.code // the convention: the status code when there is one
	}
	labels := []string{"listener", o.listener, "db_system_name", key.system, "db_namespace", key.namespace, "db_operation_name", key.operation,
		"server_address", host, "server_port", port}
	rows := o.registry.Histogram("db_client_response_returned_rows", "Rows of an answer.", RowBounds, labels...)
	labels = append(labels, "db_response_status_code", key.code, "error_type", kind)
	return &measured{rows: rows,
		duration: o.registry.Histogram("db_client_operation_duration_seconds", "From a statement's arrival to its answer's end.", OperationBounds, labels...)}
}
