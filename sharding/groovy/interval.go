package groovy

import "errors"

// expandInterval lists the names of <INTERVAL>P=prefix;SP=pattern;DIA=1;DIU=Months;DL=lower;DU=upper.
func expandInterval(string) ([]string, error) {
	return nil, errors.New("expression engine <INTERVAL> is not supported; list the names with <LITERAL> or ${...}")
}
