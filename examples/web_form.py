"""A web page with one field: the entered number is called at once and connected with the shop.

Run it: SHOP=sip:you@your-phone python examples/web_form.py, then open http://127.0.0.1:8088/.
"""

import asyncio
import os
import re
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from active_call import App, Call, CallRefused, TransferFailed

app = App()
web = FastAPI()
SHOP = os.environ.get("SHOP", "sip:shop@example.com")
PAGE = """<!doctype html><title>Call me</title>
<form method=post><input name=number placeholder=+15550100 required> <button>Call me</button></form>"""
NUMBER = re.compile(r"\+[0-9]{7,15}|sip:[^\s@]+@[^\s@]+")


async def connect(call: Call) -> None:
    """The handler of a call requested by the form."""
    await call.say("Thank you for your interest. I am connecting you with the shop.")
    try:
        await call.transfer(SHOP, mode="bridge")
    except TransferFailed:
        await call.say("Nobody is in the shop now. We will call you tomorrow. Goodbye.")


@web.get("/", response_class=HTMLResponse)
async def form() -> str:
    return PAGE


@web.post("/", response_class=HTMLResponse)
async def call_me(request: Request) -> str:
    number = parse_qs((await request.body()).decode()).get("number", [""])[0]
    if not NUMBER.fullmatch(number):
        return f"{PAGE}<p>Please write the number as +15550100."
    try:
        await app.call(number, connect, timeout=30)
    except CallRefused as refused:
        return f"{PAGE}<p>You could not be reached ({refused.sip_code})."
    return f"{PAGE}<p>You are being connected."


async def main() -> None:
    server = uvicorn.Server(uvicorn.Config(web, host="127.0.0.1", port=8088, log_level="warning"))
    async with app:
        await server.serve()


if __name__ == "__main__":
    asyncio.run(main())
