package mysql

import "fmt"

// A statement that tells the time does so on every shard's own clock. Where several connections serve it they are all
// told the instant at which the first one stood, as on one server the whole statement has one.

// stopClock brings a connection to the instant of the statement.
func (s *session) stopClock(j *job, h *hold) error {
	if !j.clock || h.stopped || s.settings.value("timestamp") != "" {
		return nil
	}
	if err := s.wait(h.b); err != nil {
		return err
	}
	defer s.waited(h.b)
	if j.instant == "" {
		rows, err := h.b.query("SELECT UNIX_TIMESTAMP(NOW(6))")
		if err != nil {
			return err
		}
		if len(rows) != 1 || len(rows[0]) != 1 {
			return fmt.Errorf("asking for the time: %d rows", len(rows))
		}
		j.instant = rows[0][0]
	}
	h.stopped = true
	_, err := h.b.query("SET timestamp=" + j.instant)
	return err
}

// resumeClocks lets the connections' clocks go on.
func (s *session) resumeClocks() {
	for _, h := range s.holds {
		if !h.stopped {
			continue
		}
		h.stopped = false
		if h.b.broken {
			continue
		}
		err := s.wait(h.b)
		if err == nil {
			_, err = h.b.query("SET timestamp=DEFAULT")
			s.waited(h.b)
		}
		h.b.broken = h.b.broken || err != nil
	}
}
