package parameter

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// unit is one that a number may be written with, and how many of the smallest of its family it is.
type unit struct {
	name string
	size float64
}

// The families of units, the largest first: PostgreSQL rounds a fraction to whole ones of the next smaller.
var (
	memory = []unit{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}, {"B", 1}}
	times  = []unit{{"d", 86400e6}, {"h", 3600e6}, {"min", 60e6}, {"s", 1e6}, {"ms", 1e3}, {"us", 1}}
)

var baseUnit = regexp.MustCompile(`^(\d*)([a-zA-Z]+)$`)

// family returns the units of a parameter whose own is base, such as 8kB, and how many of the smallest that is.
func family(base string) (units []unit, size float64) {
	m := baseUnit.FindStringSubmatch(base)
	if m == nil {
		return nil, 1
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		n = 1
	}
	for _, f := range [][]unit{memory, times} {
		if i := slices.IndexFunc(f, func(u unit) bool { return u.name == m[2] }); i >= 0 {
			return f, n * f[i].size
		}
	}
	return nil, 1
}

// A number as strtol with base 0 or strtod reads it, and the unit behind it.
var number = regexp.MustCompile(`^[+-]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)`)

// number reads a value as PostgreSQL and Patroni do, in the parameter's own unit (parse_int and parse_real in
// src/backend/utils/misc/guc.c). ok is false for what is no number, or has a unit that does not fit.
func (s setting) number(value string) (n float64, ok bool) {
	value = strings.Trim(value, " \t")
	digits := number.FindString(value)
	written := strings.TrimLeft(value[len(digits):], " \t")
	if digits == "" {
		return 0, false
	}
	whole := strings.TrimLeft(digits, "+-")
	if i, err := strconv.ParseInt(whole, 0, 64); s.kind == "integer" && err == nil {
		n = float64(i) // hexadecimal, octal or decimal
	} else if s.kind == "integer" && strings.Trim(whole, "0123456789") == "" && whole[0] == '0' {
		return 0, false // octal that is none
	} else if n, err = strconv.ParseFloat(whole, 64); err != nil {
		return 0, false
	}
	if strings.HasPrefix(digits, "-") {
		n = -n
	}
	if written != "" {
		units, base := family(s.unit)
		i := slices.IndexFunc(units, func(u unit) bool { return u.name == written })
		if i < 0 {
			return 0, false
		}
		n *= units[i].size / base
		if i+1 < len(units) {
			smaller := units[i+1].size / base
			n = math.RoundToEven(n/smaller) * smaller
		}
	}
	if s.kind == "integer" {
		n = math.RoundToEven(n)
	}
	return n, true
}

// outside says how a number is out of the range; empty when it is not.
func (s setting) outside(n float64) string {
	unit := ""
	switch {
	case s.unit == "":
	case s.unit[0] >= '0' && s.unit[0] <= '9':
		unit = " times " + s.unit
	default:
		unit = " " + s.unit
	}
	switch {
	case n < s.min:
		return "less than " + strconv.FormatFloat(s.min, 'g', 10, 64) + unit
	case n > s.max:
		return "more than " + strconv.FormatFloat(s.max, 'g', 10, 64) + unit
	}
	return ""
}

// misspelt are the words that people write for units.
var misspelt = map[string]string{
	"kilobyte": "kB", "kilobytes": "kB", "megabyte": "MB", "megabytes": "MB", "gigabyte": "GB", "gigabytes": "GB", "terabyte": "TB", "terabytes": "TB",
	"b": "B", "byte": "B", "bytes": "B", "k": "kB", "kb": "kB", "kib": "kB", "m": "MB", "mb": "MB", "mib": "MB", "g": "GB", "gb": "GB", "gib": "GB",
	"t": "TB", "tb": "TB", "tib": "TB", "usec": "us", "microseconds": "us", "msec": "ms", "millisecond": "ms", "milliseconds": "ms",
	"sec": "s", "secs": "s", "second": "s", "seconds": "s", "mins": "min", "minute": "min", "minutes": "min", "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
	"day": "d", "days": "d",
}

// meant is how the number was probably meant, else which units there are.
func (s setting) meant(value string) string {
	if dotted := strings.Replace(value, ",", ".", 1); dotted != value {
		if _, ok := s.number(dotted); ok {
			return "write " + dotted
		}
	}
	units, _ := family(s.unit)
	digits := number.FindString(strings.TrimSpace(value))
	if units == nil {
		if s.kind == "integer" {
			return "a whole number, without a unit"
		}
		return "a number, without a unit"
	}
	var names []string
	for i := len(units) - 1; i >= 0; i-- {
		names = append(names, units[i].name)
	}
	written := strings.ToLower(strings.TrimSpace(strings.TrimSpace(value)[len(digits):]))
	// "m" may be minutes as well.
	if right := misspelt[written]; digits != "" && slices.Contains(names, right) {
		return "write " + digits + right
	}
	if digits != "" && written == "m" {
		return "write " + digits + "min"
	}
	return "a number with " + strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1] + ", or without"
}
