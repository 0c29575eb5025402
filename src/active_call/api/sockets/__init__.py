"""WebSockets that control calls: `/call`, `/call/webrtc` and `/call/sip`. Commands come in, events go out."""
