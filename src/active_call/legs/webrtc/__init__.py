"""Calls with browsers: ICE, DTLS-SRTP and the descriptions of WebRTC (RFC 8825). The sound is RTP in the media process as in every call."""
