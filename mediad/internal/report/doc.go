// Package report tells the outside what happens in calls, in rtpengine's formats: telephone events as JSON over UDP and to ng clients,
// call detail records and RTCP as lines of syslog, RTCP and ng messages to Homer by HEP3. What is handed over is queued and never
// waits: when a receiver is slow, reports are lost and counted, calls go on.
package report
