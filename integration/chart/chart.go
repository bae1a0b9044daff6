// Package chart draws small plots as SVG: lines over a numeric axis, and groups of bars.
package chart

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strconv"
)

// Point is one value of a series.
type Point struct{ X, Y float64 }

// Series is what one line, or one colour of bars, shows.
type Series struct {
	Name   string
	Points []Point // of bars: X is the group, from 0
}

// Chart is a plot.
type Chart struct {
	Title  string
	X, Y   string   // what the axes show, with the unit
	Log    bool     // the X axis is logarithmic
	Groups []string // of bars; nil = lines
	Series []Series
}

const (
	width, height            = 640.0, 320.0
	left, right, top, bottom = 56.0, 128.0, 34.0, 44.0
	gridLines                = 5
)

// colours tell series apart, also for those who do not see red and green (Okabe and Ito).
func colours() []string {
	return []string{"#555555", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00"}
}

// SVG is the plot as a document.
func (c *Chart) SVG() []byte {
	d := &drawing{chart: c}
	d.measure()
	fmt.Fprintf(&d.out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&d.out, `<rect width="%g" height="%g" fill="#fff"/>`+"\n", width, height)
	d.text(left, 18, "start", 14, c.Title)
	d.axes()
	for i, s := range c.Series {
		colour := colours()[i%len(colours())]
		if c.Groups != nil {
			d.bars(i, s, colour)
		} else {
			d.line(s, colour)
		}
		y := top + 10 + 18*float64(i)
		fmt.Fprintf(&d.out, `<rect x="%g" y="%.1f" width="12" height="12" fill="%s"/>`+"\n", width-right+14, y-10, colour)
		d.text(width-right+32, y, "start", 12, s.Name)
	}
	d.out.WriteString("</svg>\n")
	return d.out.Bytes()
}

type drawing struct {
	chart        *Chart
	out          bytes.Buffer
	minX, maxX   float64
	stepY, highY float64
}

func (d *drawing) measure() {
	d.minX, d.maxX = math.Inf(1), math.Inf(-1)
	high := 0.0
	for _, s := range d.chart.Series {
		for _, p := range s.Points {
			d.minX, d.maxX, high = min(d.minX, p.X), max(d.maxX, p.X), max(high, p.Y)
		}
	}
	if !d.chart.Log {
		d.minX = min(d.minX, 0)
	}
	d.stepY = round(high / gridLines)
	d.highY = d.stepY * math.Ceil(max(high/d.stepY, 1))
}

// round goes up to 1, 2 or 5 times a power of ten.
func round(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if v <= n*unit {
			return n * unit
		}
	}
	return 10 * unit
}

func (d *drawing) x(v float64) float64 {
	lo, hi := d.minX, d.maxX
	if d.chart.Log {
		v, lo, hi = math.Log(v), math.Log(lo), math.Log(hi)
	}
	if hi == lo {
		return (left + width - right) / 2
	}
	return left + (v-lo)/(hi-lo)*(width-left-right)
}

func (d *drawing) y(v float64) float64 { return height - bottom - v/d.highY*(height-top-bottom) }

func (d *drawing) text(x, y float64, anchor string, size int, text string) {
	fmt.Fprintf(&d.out, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" fill="#222">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(text))
}

func (d *drawing) axes() {
	for v := 0.0; v <= d.highY*1.001; v += d.stepY {
		fmt.Fprintf(&d.out, `<path d="M%g %.1fH%g" stroke="#ddd"/>`+"\n", left, d.y(v), width-right)
		d.text(left-6, d.y(v)+4, "end", 11, number(v))
	}
	d.text(left-46, top-6, "start", 11, d.chart.Y)
	d.text((left+width-right)/2, height-8, "middle", 11, d.chart.X)
	if d.chart.Groups != nil {
		for i, name := range d.chart.Groups {
			d.text(left+(float64(i)+0.5)*d.groupWidth(), height-bottom+16, "middle", 11, name)
		}
		return
	}
	seen := make(map[float64]bool)
	for _, s := range d.chart.Series {
		for _, p := range s.Points {
			if !seen[p.X] {
				seen[p.X] = true
				d.text(d.x(p.X), height-bottom+16, "middle", 11, number(p.X))
			}
		}
	}
}

func (d *drawing) groupWidth() float64 { return (width - left - right) / float64(len(d.chart.Groups)) }

func (d *drawing) line(s Series, colour string) {
	for i, p := range s.Points {
		word := "L"
		if i == 0 {
			word = `<path fill="none" stroke-width="2" stroke="` + colour + `" d="M`
		}
		fmt.Fprintf(&d.out, "%s%.1f %.1f", word, d.x(p.X), d.y(p.Y))
	}
	if len(s.Points) > 0 {
		d.out.WriteString(`"/>` + "\n")
	}
	for _, p := range s.Points {
		fmt.Fprintf(&d.out, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%s %s: %s</title></circle>`+"\n",
			d.x(p.X), d.y(p.Y), colour, html.EscapeString(s.Name), number(p.X), number(p.Y))
	}
}

func (d *drawing) bars(i int, s Series, colour string) {
	wide := 0.8 * d.groupWidth() / float64(len(d.chart.Series))
	for _, p := range s.Points {
		x := left + (p.X+0.1)*d.groupWidth() + float64(i)*wide
		fmt.Fprintf(&d.out, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s: %s</title></rect>`+"\n",
			x, d.y(p.Y), wide-1, height-bottom-d.y(p.Y), colour, html.EscapeString(s.Name), number(p.Y))
		d.text(x+wide/2, d.y(p.Y)-3, "middle", 10, number(p.Y))
	}
}

// number is short: three digits that count, thousands as k.
func number(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(math.Round(v/100)/10, 'g', 4, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
