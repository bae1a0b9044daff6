// Package nodes is the exam of several media daemons behind one proxy: calls run on
// both, one is killed under load, and all its calls have media again in both
// directions.
package nodes
