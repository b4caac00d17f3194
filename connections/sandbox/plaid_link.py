from .wire import Response
def handle(simulator, request):
    return Response(status=501)
