"""Calls with browsers: ICE, DTLS-SRTP and WebRTC session descriptions (RFC 8825).

The media is RTP in the media process, as in every call.
"""
