package mysql

import (
	"slices"
	"testing"
)

func TestHabitsThatDiffer(t *testing.T) {
	h := habits{"1768435200 1784073600", "STRICT_TRANS_TABLES,ONLY_FULL_GROUP_BY", "4"}
	for _, c := range []struct {
		other habits
		want  []string
	}{
		{h, nil},
		{habits{h[0], "NO_ENGINE_SUBSTITUTION,STRICT_TRANS_TABLES", "4"}, nil},
		{habits{"1768431600 1784066400", h[1], "4"}, []string{"time_zone"}},
		{habits{h[0], "ANSI_QUOTES,STRICT_TRANS_TABLES", "6"}, []string{"sql_mode", "div_precision_increment"}},
	} {
		var got []string
		if u := h.differ(c.other, "ds_0", "ds_1"); u != nil {
			got = u.names
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.other, got, c.want)
		}
	}
}
