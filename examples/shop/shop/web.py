"""The handlers that need no database of their own."""

from litestar import MediaType, get, post
from litestar.di import NamedDependency
from litestar.exceptions import ClientException, NotFoundException
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from litestar_queues import QueueService, TaskFailedError, TaskNotFinishedError, TaskResult
from shop.tasks import Line, Payment, deliver_payment, render_invoice, send_welcome


class Signup(Struct):
    """The form of a new customer."""

    address: str


class InvoiceOrder(Struct):
    """The form of an invoice."""

    customer: str
    lines: list[Line]


class Enqueued(Struct):
    """The response of every handler that enqueues a task."""

    task: str


class Received(Struct):
    """The response to an event."""

    task: str
    is_new: bool


class TaskView(Struct):
    """The status of a task, as the browser polls it."""

    status: str
    done: float = 0.0
    message: str | None = None
    error: str | None = None


@post("/signup")
async def signup(data: JSONBody[Signup], queue_service: NamedDependency[QueueService]) -> Enqueued:
    """Register a customer, and send the welcome mail in the background."""
    return Enqueued((await queue_service.enqueue(send_welcome, data.address)).id)


@post("/invoices")
async def order_invoice(data: JSONBody[InvoiceOrder], queue_service: NamedDependency[QueueService]) -> Enqueued:
    """Render an invoice in the background."""
    return Enqueued((await queue_service.enqueue(render_invoice, data.customer, data.lines)).id)


@get("/invoices/{task_id:str}", media_type=MediaType.TEXT)
async def download_invoice(task_id: FromPath[str], queue_service: NamedDependency[QueueService]) -> str:
    """Return the rendered invoice, or the reason why there is none."""
    try:
        return str((await find(task_id, queue_service)).value())
    except TaskNotFinishedError as error:
        raise ClientException("the invoice is not ready yet", status_code=409) from error
    except TaskFailedError as error:
        raise ClientException(error.error.message if error.error else error.status, status_code=410) from error


@get("/tasks/{task_id:str}")
async def show_task(task_id: FromPath[str], queue_service: NamedDependency[QueueService]) -> TaskView:
    """Return the status and the progress of a task."""
    found = await find(task_id, queue_service)
    view = TaskView(found.status)
    if found.progress:
        view.done, view.message = found.progress.done, found.progress.message
    if found.error:  # the last attempt failed; the task may still have retries left
        view.error = found.error.message
    return view


@post("/webhooks/payments", status_code=202)
async def receive_payment(data: JSONBody[Payment], queue_service: NamedDependency[QueueService]) -> Received:
    """Accept an event once: while its task is active, the same event returns the same task."""
    deliver = deliver_payment.using(key=f"payment-{data.id}", expires_in=3600)
    result = await queue_service.enqueue(deliver, data)
    return Received(result.id, result.is_new)


async def find(task_id: str, queues: QueueService) -> TaskResult[object]:
    """Return the task with this id, or respond with 404."""
    found = await queues.get(task_id)
    if found is None:
        raise NotFoundException(f"there is no task {task_id}")
    return found


HANDLERS = [signup, order_invoice, download_invoice, show_task, receive_payment]
